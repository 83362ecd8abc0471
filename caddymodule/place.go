// The server of a request, and the values that a login requires to dial it.

package caddymodule

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// spoken returns how requests to the server of a request are sent.
func (t *Transport) spoken(req *http.Request) upstream.Way {
	t.SetScheme(req)
	return upstream.Way{Scheme: req.URL.Scheme, BasePath: t.BasePath, Host: t.UpstreamHost}
}

// place returns the place at which accounts log in for a request.
func (t *Transport) place(req *http.Request) upstream.Place { return t.spoken(req).Place(dialed(req)) }

// dialed returns the address of the upstream of a request.
func dialed(req *http.Request) upstream.Address {
	if dial, ok := reverseproxy.GetDialInfo(req.Context()); ok {
		return upstream.Address{Network: dial.Network, Address: dial.Address}
	}
	return upstream.Address{Address: req.URL.Host}
}

// upstreamOf returns the place at which a user of passthrough logs in for a request.
func (t *Transport) upstreamOf(req *http.Request, state *requestState) passthrough.Upstream {
	return passthrough.Upstream{
		Server: t.server, Address: dialed(req), Place: func() upstream.Place { return t.place(req) }, Request: state.request(),
	}
}

// grantContext contains the values of a request's context for a grant, which may
// outlive the request: how to dial the upstream, and the values that dialing looks up.
// It does not contain the variables of the request, see loginTransport, or trace hooks,
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
	case dialInfoKey:
		if g.dials {
			return g.dial
		}
	}
	return nil
}

// replacer returns what reverse_proxy would have set. It and the variables are made when they are asked for,
// because each session keeps its context for the logout.
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

// grantValues returns the values of a request's context that a grant requires: the
// address of the selected upstream. It contains nothing else, because all callers share
// the session.
func grantValues(ctx context.Context) context.Context {
	g := grantContext{server: ctx.Value(caddyhttp.ServerCtxKey)}
	g.dial, g.dials = reverseproxy.GetDialInfo(ctx)
	return tracing.Carry(g, ctx)
}

// dialInfoKey is the context key of reverse_proxy's DialInfo, which is not exported.
// TestTheDialInfoOfAGrantIsFound verifies it.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"
