// Which reverse_proxy is configured in the usual way.

package forwarder

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Auto and Nested are the values of the option forward: whether the site forwards requests
// itself where it can, or leaves all of them to reverse_proxy.
const (
	Auto   = "auto"
	Nested = "nested"
)

// environment is the variable with the value for sites without the option forward.
const environment = "VEEAM_AUTH_FORWARD"

// Choice returns the value that applies to a site with the given value of the option forward,
// which may be empty. The error says which value is not allowed.
func Choice(option string) (string, error) {
	name := "forward"
	if option == "" {
		name, option = environment, os.Getenv(environment)
	}
	switch option {
	case "":
		return Auto, nil
	case Auto, Nested:
		return option, nil
	}
	return "", fmt.Errorf("%s %q is not allowed (allowed: %s, %s)", name, option, Auto, Nested)
}

// Shown returns the value of the option forward that says who sends on the requests of a
// site that is configured with option: Nested where the options of its reverse_proxy or of
// its transport require that.
func Shown(option string, proxy *reverseproxy.Handler, base *reverseproxy.HTTPTransport) (string, error) {
	chosen, err := Choice(option)
	if err != nil || chosen == Nested {
		return chosen, err
	}
	// What is configured, without the fields in which the parser keeps what it has read.
	text, err := json.Marshal(proxy)
	if err != nil {
		return "", err
	}
	configured := new(reverseproxy.Handler)
	if err := json.Unmarshal(text, configured); err != nil {
		return "", err
	}
	if usual(configured, base) != nil {
		chosen = Nested
	}
	return chosen, nil
}

// usual returns an error that names the first option of a reverse_proxy, or of the transport
// that its transport is built on, that the forwarder does not have. The upstreams must be
// host and port. It has to be asked before the reverse_proxy has filled in its defaults: when
// it provisions its transport, or earlier.
func usual(proxy *reverseproxy.Handler, base *reverseproxy.HTTPTransport) error {
	switch {
	case slices.Contains(base.Versions, "3"):
		return errors.New("the upstream is asked by HTTP/3")
	case base.ProxyProtocolEnabled():
		return errors.New("the upstream gets the PROXY protocol")
	}
	options := reflect.ValueOf(proxy).Elem()
	for i := range options.NumField() {
		name, _, _ := strings.Cut(options.Type().Field(i).Tag.Get("json"), ",")
		switch name {
		case "", "-", "transport", "upstreams":
			continue
		}
		if !options.Field(i).IsZero() {
			return fmt.Errorf("reverse_proxy has the option %s", name)
		}
	}
	if len(proxy.Upstreams) == 0 {
		return errors.New("reverse_proxy has no upstream")
	}
	for _, upstream := range proxy.Upstreams {
		if _, err := dialInfo(upstream); err != nil {
			return err
		}
	}
	return nil
}

// dialInfo returns how to dial an upstream with a fixed address.
func dialInfo(upstream *reverseproxy.Upstream) (reverseproxy.DialInfo, error) {
	if strings.ContainsAny(upstream.Dial, "{}") {
		return reverseproxy.DialInfo{}, errors.New("the address of an upstream has a placeholder")
	}
	address, err := caddy.ParseNetworkAddress(upstream.Dial)
	if err != nil || address.Network != "tcp" || address.PortRangeSize() != 1 {
		return reverseproxy.DialInfo{}, errors.New("the address of an upstream is not a host and a port")
	}
	return reverseproxy.DialInfo{
		Upstream: upstream, Network: address.Network, Address: address.JoinHostPort(0), Host: address.Host,
		Port: strconv.Itoa(int(address.StartPort)),
	}, nil
}

// target is an upstream.
type target struct {
	dial   reverseproxy.DialInfo
	boxed  any // dial
	active *atomic.Int64
}

// Candidate is a reverse_proxy whose requests a Forwarder may send on.
type Candidate struct {
	proxy     *reverseproxy.Handler
	transport http.RoundTripper
	logger    *zap.Logger
	unusual   error
}

// Look looks at a reverse_proxy that provisions its transport, which is built on the
// transport base. ctx is that of the transport.
func Look(ctx caddy.Context, proxy *reverseproxy.Handler, transport http.RoundTripper, base *reverseproxy.HTTPTransport) *Candidate {
	c := &Candidate{proxy: proxy, transport: transport, logger: ctx.Logger(proxy)}
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	switch {
	case c.logger.Core().Enabled(zapcore.DebugLevel):
		c.unusual = errors.New("reverse_proxy logs at level debug")
	case server != nil && server.Logs != nil && server.Logs.Trace:
		c.unusual = errors.New("the server logs each handler")
	default:
		c.unusual = usual(proxy, base)
	}
	return c
}

// Behind returns what sends on the requests of a handler, if the reverse_proxy comes right
// behind it. The error says why that must be left to reverse_proxy. routes is the module
// that contains both. It must be called after everything was provisioned.
func (c *Candidate) Behind(handler caddyhttp.MiddlewareHandler, routes any) (*Forwarder, error) {
	if c.unusual != nil {
		return nil, c.unusual
	}
	if !c.follows(handler, routes) {
		return nil, errors.New("reverse_proxy does not come right behind veeam_auth")
	}
	f := &Forwarder{proxy: c.proxy, transport: c.transport, logger: c.logger, targets: make(map[*reverseproxy.Upstream]*target)}
	for _, upstream := range c.proxy.Upstreams {
		dial, err := dialInfo(upstream)
		if err != nil {
			return nil, err
		}
		active := activeRequests(upstream.Host)
		if active == nil {
			return nil, errors.New("this version of Caddy counts requests in another way")
		}
		f.targets[upstream] = &target{dial: dial, boxed: dial, active: active}
	}
	return f, nil
}

// follows reports whether the reverse_proxy is the handler right behind another one.
func (c *Candidate) follows(handler caddyhttp.MiddlewareHandler, routes any) bool {
	var lists []caddyhttp.RouteList
	switch m := routes.(type) {
	case *caddyhttp.App:
		for _, server := range m.Servers {
			lists = append(lists, server.Routes)
			for _, route := range server.NamedRoutes {
				lists = append(lists, caddyhttp.RouteList{*route})
			}
		}
	case *caddyhttp.Subroute:
		lists = append(lists, m.Routes)
	}
	follows := false
	for _, list := range lists {
		for _, route := range list {
			for i, found := range route.Handlers {
				if found != handler {
					continue
				}
				if i+1 == len(route.Handlers) || route.Handlers[i+1] != caddyhttp.MiddlewareHandler(c.proxy) {
					return false
				}
				follows = true
			}
		}
	}
	return follows
}

// activeRequests returns where reverse_proxy counts the requests to an upstream, for its
// admin endpoint, its limits and its placeholders. Only reverse_proxy can count there, so
// the field is found by its name; nil if it has another one or another type.
func activeRequests(host *reverseproxy.Host) *atomic.Int64 {
	if host == nil {
		return nil
	}
	field := reflect.ValueOf(host).Elem().FieldByName("numRequests")
	if !field.IsValid() || field.Type() != reflect.TypeFor[atomic.Int64]() {
		return nil
	}
	return (*atomic.Int64)(unsafe.Pointer(field.UnsafeAddr())) //nolint:gosec // of this type, as was checked
}
