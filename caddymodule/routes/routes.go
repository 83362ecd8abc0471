// Package routes says what identifies the routes on the way to a handler, and the servers
// behind it: matchers, other modules, the users of basic_auth, and upstreams.
package routes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
)

// WithUsers adds the users of basic_auth.
func WithUsers(users map[string]string, handler *caddyauth.Authentication) map[string]string {
	if users = maps.Clone(users); users == nil { // others have the same
		users = make(map[string]string)
	}
	for _, provider := range handler.Providers {
		basic, ok := provider.(*caddyauth.HTTPBasicAuth)
		if !ok {
			continue
		}
		for name, account := range basic.Accounts {
			users[name] = issuer.Digest("basic_auth", users[name], name, account.Password)
		}
	}
	return users
}

// MatchersText identifies matchers. Caddy loads those of a set in no defined order.
func MatchersText(sets caddyhttp.MatcherSets) string {
	texts := make([]string, len(sets))
	for i, set := range sets {
		matchers := make([]string, len(set))
		for j, m := range set {
			matchers[j] = ModuleText(m)
		}
		slices.Sort(matchers)
		texts[i] = strings.Join(matchers, " and ")
	}
	slices.Sort(texts)
	return " [" + strings.Join(texts, " or ") + "]"
}

// ModuleText returns a module's configuration, as far as the module has kept it.
func ModuleText(module any) string {
	name := fmt.Sprintf("%T", module)
	if m, ok := module.(caddy.Module); ok {
		name = string(m.CaddyModule().ID)
	}
	text, err := json.Marshal(module)
	if err != nil {
		return name
	}
	return name + " " + string(text)
}

// Proxy returns the first proxy, nil if there is none.
func Proxy(handlers []caddyhttp.MiddlewareHandler) *reverseproxy.Handler {
	for _, handler := range handlers {
		if proxy, ok := handler.(*reverseproxy.Handler); ok {
			return proxy
		}
	}
	return nil
}

// CheckProxy returns an error if a handler that is being provisioned stands before a
// reverse_proxy of its route that ends every request by another transport than the one with
// the handler's name. parent is the module that contains the handler. A route that may get to
// such a transport in another way is left alone.
func CheckProxy(server *caddyhttp.Server, parent any, name string) error {
	list, at := provisioned(server, parent)
	if at < 0 {
		return nil
	}
	behind := list[at].HandlersRaw
	for i, raw := range slices.Backward(behind) {
		if handlerOf(raw) == name {
			behind = behind[i+1:]
			break
		}
	}
	for _, raw := range behind {
		if bytes.Contains(raw, []byte(`"`+name+`"`)) || bytes.Contains(raw, []byte(`"invoke"`)) {
			return nil
		}
	}
	for _, raw := range behind {
		if protocol, ends := ending(raw); ends {
			return fmt.Errorf("the reverse_proxy behind the handler %s has the transport %s, which sends requests without a token; write the transport %s",
				name, cmp.Or(protocol, "http"), name)
		}
	}
	return nil
}

// Unreached returns the route whose handlers are being provisioned if no request gets to one
// of its handlers with a name, because a reverse_proxy before it ends every request; otherwise
// nil.
func Unreached(server *caddyhttp.Server, parent any, name string) *caddyhttp.Route {
	list, at := provisioned(server, parent)
	if at < 0 {
		return nil
	}
	for _, route := range list[:at] {
		if len(route.MatcherSets) == 0 && route.Group == "" && slices.ContainsFunc(route.Handlers, func(handler caddyhttp.MiddlewareHandler) bool {
			proxy, ok := handler.(*reverseproxy.Handler)
			return ok && len(proxy.HandleResponse) == 0
		}) {
			return &list[at]
		}
	}
	// Caddy's adapter puts directives without a matcher into one route.
	raw := list[at].HandlersRaw
	for i := len(raw) - 1; i > 0; i-- {
		if handlerOf(raw[i]) == name && slices.ContainsFunc(raw[:i], func(raw json.RawMessage) bool { _, ends := ending(raw); return ends }) {
			return &list[at]
		}
	}
	return nil
}

// ending reports whether a handler is a reverse_proxy that ends every request, and by which
// transport.
func ending(raw json.RawMessage) (protocol string, ends bool) {
	if handlerOf(raw) != "reverse_proxy" {
		return "", false
	}
	var proxy struct {
		Transport struct {
			Protocol string `json:"protocol"`
		} `json:"transport"`
		HandleResponse []json.RawMessage `json:"handle_response"`
	}
	err := json.Unmarshal(raw, &proxy)
	return proxy.Transport.Protocol, err == nil && len(proxy.HandleResponse) == 0
}

// handlerOf returns the name of a handler. It reads no further than that: there may be very
// much behind it.
func handlerOf(raw json.RawMessage) (name string) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil { // the brace
		return ""
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return ""
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return ""
		}
		if key == "handler" {
			_ = json.Unmarshal(value, &name) // Caddy refuses what is no text
			return name
		}
	}
	return ""
}

// provisioned returns the routes of a module, and the position of the one whose handlers are
// being provisioned; below zero if it is in another list, such as a named route.
func provisioned(server *caddyhttp.Server, parent any) (list caddyhttp.RouteList, at int) {
	switch m := parent.(type) {
	case *caddyhttp.App:
		list = server.Routes
	case *caddyhttp.Subroute:
		list = m.Routes
	}
	return list, slices.IndexFunc(list, func(route caddyhttp.Route) bool { return route.HandlersRaw != nil })
}

// CheckUpstreams returns an error for the first upstream of a proxy that is not a host with
// one port, as JSON can have it: Caddy would dial this machine, or fail for each request. It
// does not repeat the address, which may have a password. Addresses with placeholders are
// known when a request comes.
func CheckUpstreams(proxy *reverseproxy.Handler) error {
	for i, upstream := range proxy.Upstreams {
		if strings.Contains(upstream.Dial, "{") {
			continue
		}
		if fault := undialable(upstream.Dial); fault != "" {
			return fmt.Errorf("upstreams[%d]: dial %s: write host and port, as in vbr01.lab.local:9419", i, fault)
		}
	}
	return nil
}

// undialable says what is wrong with the address of an upstream, empty if nothing is.
func undialable(dial string) string {
	address, err := caddy.ParseNetworkAddress(dial)
	switch {
	case dial == "":
		return "is missing"
	case strings.Contains(dial, "://"):
		return "is a URL"
	case caddy.IsUnixNetwork(address.Network) || caddy.IsFdNetwork(address.Network):
		return ""
	case strings.Contains(dial, "@"):
		return "has a user"
	case err != nil:
		return "is no address"
	case address.Host == "":
		return "has no host"
	case address.StartPort == 0:
		return "has no port"
	case address.PortRangeSize() != 1:
		return "has several ports"
	}
	return ""
}

// Upstreams returns the addresses of a proxy's servers as they are configured, and what
// identifies all its servers. Both may have placeholders.
func Upstreams(proxy *reverseproxy.Handler) (dials, identity []string) {
	for _, upstream := range proxy.Upstreams {
		dials = append(dials, upstream.Dial)
	}
	slices.Sort(dials)
	identity = slices.Clone(dials)
	if proxy.DynamicUpstreams != nil {
		identity = append(identity, ModuleText(proxy.DynamicUpstreams))
	}
	return dials, identity
}

// Filled returns texts with the placeholders filled in that a request has values for. Their
// braces are no placeholders where they are JSON.
func Filled(r *http.Request, texts []string) []string {
	filled := slices.Clone(texts)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		for i, text := range filled {
			filled[i] = repl.ReplaceKnown(text, "")
		}
	}
	return filled
}
