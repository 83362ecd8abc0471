// Where a request goes: the place of its upstream, and what a login needs to dial it.

package caddymodule

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// spoken is how the server of a request is spoken to.
func (t *Transport) spoken(req *http.Request) upstream.Way {
	t.SetScheme(req)
	return upstream.Way{Scheme: req.URL.Scheme, BasePath: t.BasePath, Host: t.UpstreamHost}
}

// place is where accounts log in for a request.
func (t *Transport) place(req *http.Request) upstream.Place { return t.spoken(req).Place(dialed(req)) }

// dialed is the address of the upstream of a request.
func dialed(req *http.Request) upstream.Address {
	if dial, ok := reverseproxy.GetDialInfo(req.Context()); ok {
		return upstream.Address{Network: dial.Network, Address: dial.Address}
	}
	return upstream.Address{Address: req.URL.Host}
}

// upstreamOf is where a user of passthrough logs in for a request.
func (t *Transport) upstreamOf(req *http.Request, state *requestState) passthrough.Upstream {
	return passthrough.Upstream{
		Server: t.server, Address: dialed(req), Place: func() upstream.Place { return t.place(req) }, Request: state.request(),
	}
}

// grantContext is what remains of a request's context for a grant, which may
// outlive the request: how to dial the upstream, and the values that dialing
// looks up. The variables of the request stay behind, see loginTransport, and so
// do trace hooks, which write to the request's client.
type grantContext struct {
	vars   map[string]any
	values map[any]any
}

func (grantContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (grantContext) Done() <-chan struct{}       { return nil }
func (grantContext) Err() error                  { return nil }

func (g grantContext) Value(key any) any {
	if key == caddyhttp.VarsCtxKey {
		return g.vars
	}
	return g.values[key]
}

// grantValues are what a grant needs of the context of a request: where the
// upstream is that was chosen for it. Nothing else goes over, because all share
// the session.
func grantValues(ctx context.Context) context.Context {
	g := grantContext{vars: map[string]any{}, values: map[any]any{}}
	g.values[caddyhttp.ServerCtxKey] = ctx.Value(caddyhttp.ServerCtxKey)
	repl := caddy.NewReplacer()
	g.values[caddy.ReplacerCtxKey] = repl
	if dial, ok := reverseproxy.GetDialInfo(ctx); ok {
		g.values[dialInfoKey] = dial
		repl.Set("http.reverse_proxy.upstream.address", dial.String())
		repl.Set("http.reverse_proxy.upstream.hostport", dial.Address)
		repl.Set("http.reverse_proxy.upstream.host", dial.Host)
		repl.Set("http.reverse_proxy.upstream.port", dial.Port)
	}
	return g
}

// dialInfoKey is the context key of reverse_proxy's DialInfo, which has no
// exported name. TestTheDialInfoOfAGrantIsFound holds it to the truth.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"
