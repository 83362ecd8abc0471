// Package dialing has the way to a server that reverse_proxy takes, for what has no request of
// its own: logins and commands. They are dialed as requests are, with the same address,
// placeholders and options, but without the variables of any request. Package caddymodule
// imports it.
package dialing

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/stdlog"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// infoKey is the context key of reverse_proxy's DialInfo, which is not exported.
// TestTheDialInfoOfAGrantIsFound verifies it.
const infoKey caddy.CtxKey = "reverse_proxy.dial_info"

// To returns a context for requests to an upstream, as reverse_proxy makes it.
func To(ctx context.Context, upstream reverseproxy.DialInfo) context.Context {
	return context.WithValue(ctx, infoKey, upstream)
}

// Address returns the address of the upstream of a request.
func Address(req *http.Request) upstream.Address {
	if dial, ok := reverseproxy.GetDialInfo(req.Context()); ok {
		return upstream.Address{Network: dial.Network, Address: dial.Address}
	}
	return upstream.Address{Address: req.URL.Host}
}

// Info parses the address of an upstream, with placeholders, as reverse_proxy does.
func Info(upstream string) (reverseproxy.DialInfo, error) {
	text, err := caddy.NewReplacer().ReplaceOrErr(upstream, true, true)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %w", upstream, err)
	}
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %w", text, err)
	}
	if address.PortRangeSize() != 1 {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: a single port is required", text)
	}
	return reverseproxy.DialInfo{
		Network: address.Network, Address: address.JoinHostPort(0), Host: address.Host, Port: fmt.Sprint(address.StartPort),
	}, nil
}

// grantContext contains the values of a request's context for a grant, which may
// outlive the request: how to dial the upstream, and the values that dialing looks up.
// It does not contain the variables of the request, see LoginTransport, or trace hooks,
// which write to the request's client.
type grantContext struct {
	server any
	dial   reverseproxy.DialInfo
	dials  bool // dial is set
}

func (grantContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (grantContext) Done() <-chan struct{}       { return nil }
func (grantContext) Err() error                  { return nil }

func (g grantContext) Value(key any) any {
	switch key {
	case caddyhttp.VarsCtxKey:
		return map[string]any{}
	case caddyhttp.ServerCtxKey:
		return g.server
	case caddy.ReplacerCtxKey:
		return g.replacer()
	case infoKey:
		if g.dials {
			return g.dial
		}
	}
	return nil
}

// replacer returns what reverse_proxy would have set. It and the variables are made when they
// are asked for, because each session keeps its context for the logout.
func (g grantContext) replacer() *caddy.Replacer {
	repl := caddy.NewReplacer()
	if g.dials {
		repl.Set("http.reverse_proxy.upstream.address", g.dial.String())
		repl.Set("http.reverse_proxy.upstream.hostport", g.dial.Address)
		repl.Set("http.reverse_proxy.upstream.host", g.dial.Host)
		repl.Set("http.reverse_proxy.upstream.port", g.dial.Port)
	}
	return repl
}

// Values returns the values of a request's context that a grant requires: the
// address of the selected upstream. It contains nothing else, because all callers share
// the session.
func Values(ctx context.Context) context.Context {
	g := grantContext{server: ctx.Value(caddyhttp.ServerCtxKey)}
	g.dial, g.dials = reverseproxy.GetDialInfo(ctx)
	return tracing.Carry(g, ctx)
}

// LoginTransport sends the requests of logins with their own variables. Those of a
// client's request, including its address, do not apply to a session that all callers
// share, and the transport writes to them. What logs in or out is sent once.
type LoginTransport struct{ *reverseproxy.HTTPTransport }

// proxyProtocolVar is the variable in which reverse_proxy stores the client address of
// a connection. It is not exported.
const proxyProtocolVar = "reverse_proxy.proxy_protocol_info"

// RoundTrip implements http.RoundTripper.
func (t LoginTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	vars := map[string]any{dialsVar: new(int32)}
	if t.ProxyProtocolEnabled() {
		vars[proxyProtocolVar] = reverseproxy.ProxyProtocolInfo{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)}
	}
	req = req.WithContext(context.WithValue(req.Context(), caddyhttp.VarsCtxKey, vars))
	if req.Method == http.MethodGet {
		return stdlog.Send(t.HTTPTransport, req)
	}
	return sendOnce(t.HTTPTransport, req)
}

// Interface guard
var _ http.RoundTripper = LoginTransport{}
