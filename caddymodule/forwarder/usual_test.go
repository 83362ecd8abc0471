package forwarder

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// base is a transport without options.
var base reverseproxy.HTTPTransport

func plain() *reverseproxy.Handler {
	return &reverseproxy.Handler{
		TransportRaw: json.RawMessage(`{}`),
		Upstreams:    reverseproxy.UpstreamPool{{Dial: "vbr01.lab.local:9419"}, {Dial: "[::1]:9419", MaxRequests: 3}},
	}
}

// An option that a newer Caddy has is one of these, too.
func TestEachOptionOfReverseProxyKeepsItsRequests(t *testing.T) {
	t.Parallel()
	if err := usual(plain(), &base); err != nil {
		t.Fatal(err)
	}
	tried := 0
	options := reflect.TypeFor[reverseproxy.Handler]()
	for i := range options.NumField() {
		name, _, _ := strings.Cut(options.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" || name == "transport" || name == "upstreams" {
			continue
		}
		proxy := plain()
		field := reflect.ValueOf(proxy).Elem().Field(i)
		switch v := field.Addr().Interface().(type) {
		case *json.RawMessage:
			*v = json.RawMessage(`{}`)
		case **reverseproxy.LoadBalancing:
			*v = new(reverseproxy.LoadBalancing)
		case **reverseproxy.HealthChecks:
			*v = new(reverseproxy.HealthChecks)
		case **headers.Handler:
			*v = new(headers.Handler)
		case **rewrite.Rewrite:
			*v = new(rewrite.Rewrite)
		case *caddy.Duration:
			*v = -1
		case *[]string:
			*v = []string{"127.0.0.1"}
		case *int64:
			*v = 1
		case *int:
			*v = 1
		case *string:
			*v = "name"
		case *bool:
			*v = true
		case *[]caddyhttp.ResponseHandler:
			*v = []caddyhttp.ResponseHandler{{}}
		default:
			t.Errorf("%s has a type that this test does not know: %T", name, v)
			continue
		}
		tried++
		if err := usual(proxy, &base); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if tried < 15 {
		t.Errorf("%d options tried", tried)
	}
}

func TestAnUpstreamWithoutAFixedAddressKeepsItsRequests(t *testing.T) {
	t.Parallel()
	for _, dial := range []string{"{env.SERVER}:9419", "unix//run/vbr.sock", "udp/vbr01:9419", "vbr01:9419-9420", "vbr01:x", "unixgram//run/x"} {
		proxy := plain()
		proxy.Upstreams[1].Dial = dial
		if usual(proxy, &base) == nil {
			t.Errorf("%s is forwarded to", dial)
		}
	}
	proxy := plain()
	proxy.Upstreams = nil
	if usual(proxy, &base) == nil {
		t.Error("to nowhere")
	}
}

func TestWhoSendsRequestsOnIsShown(t *testing.T) {
	for _, c := range []struct {
		name, option, environment string
		change                    func(*reverseproxy.Handler, *reverseproxy.HTTPTransport)
		want, fails               string
	}{
		{name: "nothing is set", want: Auto},
		{name: "forced", option: Nested, want: Nested},
		{name: "forced by the environment", environment: Nested, want: Nested},
		{name: "the option wins", option: Auto, environment: Nested, want: Auto},
		{name: "an option of reverse_proxy", change: func(p *reverseproxy.Handler, _ *reverseproxy.HTTPTransport) { p.FlushInterval = -1 }, want: Nested},
		{name: "the same", option: Auto, change: func(p *reverseproxy.Handler, _ *reverseproxy.HTTPTransport) { p.FlushInterval = -1 }, want: Nested},
		{name: "HTTP/3", change: func(_ *reverseproxy.Handler, t *reverseproxy.HTTPTransport) { t.Versions = []string{"3"} }, want: Nested},
		{name: "PROXY protocol", change: func(_ *reverseproxy.Handler, t *reverseproxy.HTTPTransport) { t.ProxyProtocol = "v1" }, want: Nested},
		{name: "an unknown value", option: "fast", fails: `forward "fast" is not allowed (allowed: auto, nested)`},
		{name: "an unknown value in the environment", environment: "off", fails: `VEEAM_AUTH_FORWARD "off" is not allowed (allowed: auto, nested)`},
	} {
		t.Setenv(environment, c.environment)
		proxy, transport := plain(), new(reverseproxy.HTTPTransport)
		if c.change != nil {
			c.change(proxy, transport)
		}
		got, err := Shown(c.option, proxy, transport)
		if got != c.want || (err != nil) != (c.fails != "") || err != nil && err.Error() != c.fails {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestRequestsAreCountedWhereReverseProxyCountsThem(t *testing.T) {
	t.Parallel()
	host := new(reverseproxy.Host)
	count := activeRequests(host)
	if count == nil {
		t.Fatal("not found")
	}
	count.Add(2)
	if host.NumRequests() != 2 || host.Fails() != 0 {
		t.Errorf("%d requests, %d failures", host.NumRequests(), host.Fails())
	}
	if activeRequests(nil) != (*atomic.Int64)(nil) {
		t.Error("of no host")
	}
}

// between is a handler.
type between struct{ caddyhttp.MiddlewareHandler }

func TestOnlyTheReverseProxyRightBehindTheHandlerIsReplaced(t *testing.T) {
	t.Parallel()
	own, other, proxy := new(between), new(between), plain()
	for name, c := range map[string]struct {
		handlers []caddyhttp.MiddlewareHandler
		follows  bool
	}{
		"right behind":       {[]caddyhttp.MiddlewareHandler{other, own, proxy, other}, true},
		"another between":    {[]caddyhttp.MiddlewareHandler{own, other, proxy}, false},
		"another one behind": {[]caddyhttp.MiddlewareHandler{own, plain(), proxy}, false},
		"before":             {[]caddyhttp.MiddlewareHandler{proxy, own}, false},
		"nothing behind":     {[]caddyhttp.MiddlewareHandler{own}, false},
		"not there":          {[]caddyhttp.MiddlewareHandler{other, proxy}, false},
	} {
		routes := caddyhttp.RouteList{{}, {Handlers: c.handlers}}
		candidate := &Candidate{proxy: proxy}
		for _, module := range []any{
			&caddyhttp.App{Servers: map[string]*caddyhttp.Server{"a": {}, "b": {Routes: routes}}},
			&caddyhttp.App{Servers: map[string]*caddyhttp.Server{"a": {NamedRoutes: map[string]*caddyhttp.Route{"x": &routes[1]}}}},
			&caddyhttp.Subroute{Routes: routes},
		} {
			if candidate.follows(own, module) != c.follows {
				t.Errorf("%s, in a %T: %t", name, module, !c.follows)
			}
		}
		if candidate.follows(own, struct{}{}) {
			t.Errorf("%s: in a module that has no routes", name)
		}
	}
	// The same handler in two routes, as in a named one.
	twice := caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{own, proxy}}, {Handlers: []caddyhttp.MiddlewareHandler{own, other, proxy}}}
	if (&Candidate{proxy: proxy}).follows(own, &caddyhttp.Subroute{Routes: twice}) {
		t.Error("another handler between in one of two routes")
	}
}

func TestOnlyPlainRequestsAreTaken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*http.Request){
		"CONNECT":     func(r *http.Request) { r.Method = http.MethodConnect },
		"an upgrade":  func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
		"incremental": func(r *http.Request) { r.Header.Set("Incremental", "?1") },
	} {
		r := &http.Request{Method: http.MethodGet, Header: http.Header{}}
		if !Takes(r) {
			t.Fatal("a plain one is not")
		}
		if change(r); Takes(r) {
			t.Errorf("%s is", name)
		}
	}
}
