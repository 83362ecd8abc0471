// What handler and transport tell each other about one request.

package caddymodule

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// exchangeVar is the request variable that holds the exchange.
const exchangeVar = "veeam_auth"

// exchange travels with a request. The handler makes it and fills the first
// part; the transport reads that and fills the second.
type exchange struct {
	sent      canonical.Request // what is decided about
	ambiguous *veeam.Refusal    // why it cannot be decided about, nil if it can
	route     veeam.Route
	operation operation.Operation
	caller    policy.Caller
	decision  policy.Decision
	decided   string // allow or deny, empty without rules
	source    string // file and line of the rule that has decided
	account   string // to act as, empty for the first one
	filter    bool   // take the secrets out of the answer
	journal   journal.Journal

	// ctx, tls and host are those of the request as it came, for what is seldom asked
	// for.
	ctx  context.Context
	tls  *tls.ConnectionState
	host string

	// guest is whose login the request acts as, if the caller has one of its own;
	// guestLogin is its request for that. Nil for others.
	guest      *passthrough.User
	guestLogin *passthrough.Login

	// answer makes the answer of the token endpoint, once there is a session.
	// Nil on other routes.
	answer tokenAnswer

	refused *veeam.Refusal // what the transport refused the request with
}

// terms are on what terms the client gets the answer. Of an operation that is
// documented, and is none about secrets, it is known that it gives out no session.
func (e *exchange) terms() answer.Terms {
	unsure := e.operation.Class == operation.Unknown || e.operation.Class == operation.Secret
	return answer.Terms{Filter: e.filter, Tokens: e.route == veeam.RouteProtected && unsure}
}

// origin is what the client calls this site: scheme and host.
func (e *exchange) origin() string {
	if e.tls != nil {
		return "https://" + e.host
	}
	return "http://" + e.host
}

// placeholders are the values under {http.veeam_auth.*}.
func (e *exchange) placeholders(key string) (any, bool) {
	const prefix = "http.veeam_auth."
	if !strings.HasPrefix(key, prefix) {
		return nil, false
	}
	switch key[len(prefix):] {
	case "client":
		return e.caller.Identity(), true
	case "via":
		return string(e.caller.Via), true
	case "account":
		return e.account, true
	case "operation":
		return e.operation.Name, true
	case "class":
		return e.operation.Class.String(), true
	case "rule":
		return e.decision.Rule, true
	case "decision":
		return e.decided, true
	case "source":
		return e.source, true
	case "certificate.spki":
		return spki(e.tls), true
	case "peer.uid", "peer.gid", "peer.pid":
		return e.peerPart(key[len(prefix+"peer."):]), true
	}
	return nil, false
}

// peerPart is a part of the credentials of the peer, empty where there are none.
func (e *exchange) peerPart(name string) any {
	if e.ctx == nil {
		return ""
	}
	p, ok := requestPeer(e.ctx)
	switch {
	case !ok:
		return ""
	case name == "uid":
		return p.UID
	case name == "gid":
		return p.GID
	}
	return p.PID
}

// exchangeOf returns nil if no handler has let the request in, which is also the
// case for health checks.
func exchangeOf(ctx context.Context) *exchange {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	e, _ := vars[exchangeVar].(*exchange)
	return e
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

// request is what a token is for.
func (e *exchange) request() upstream.Request {
	return upstream.Request{Values: grantValues, Journal: e.journal}
}
