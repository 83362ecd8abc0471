// What the handler has decided about a request, and what the transport has found.

package caddymodule

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// stateVar is the request variable that holds the requestState.
const stateVar = "veeam_auth"

// requestState is what the handler has decided about a request. The handler completes it
// before it calls the next handler; from then on nobody changes it. reverse_proxy may
// send the request to several upstreams, and each time the transport finds the same.
type requestState struct {
	sent      canonical.Request // what is decided about
	ambiguous *veeam.Refusal    // why it cannot be decided about, nil if it can
	route     veeam.Route
	operation operation.Operation
	presented string // the session or, at the token endpoint, the credential
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

	// user is whose login the request acts as, if the caller has one of its own; login
	// is the request for a new one. Nil for others.
	user  *passthrough.User
	login *passthrough.Login

	// answer makes the answer of the token endpoint, once there is a session.
	// Nil on other routes.
	answer tokenAnswer

	// found is where the transport reports, and no part of the decision.
	found *found
}

// found is what the transport has found out: it writes it each time that it has sent the
// request or refused it, and the handler reads it after the last time.
type found struct {
	refused *veeam.Refusal // instead of an answer of the server; nil if there is none
	session http.Header    // of the answer to a login, which only the client gets
}

// newRequestState returns the state of a request, undecided.
func newRequestState(r *http.Request) *requestState {
	both := new(struct {
		requestState
		found
	})
	both.requestState = requestState{tls: r.TLS, host: r.Host, found: &both.found}
	return &both.requestState
}

// terms are on what terms the client gets the answer of a product. Of an operation that
// is documented, and is none about secrets, it is known that it gives out no session.
func (state *requestState) terms(product *veeam.Product) answer.Terms {
	unsure := state.operation.Class == operation.Unknown || state.operation.Class == operation.Secret
	return answer.Terms{Filter: state.filter, Tokens: state.route == veeam.RouteProtected && unsure, Linked: product.Linked}
}

// origin is what the client calls this site: scheme and host.
func (state *requestState) origin() string {
	if state.tls != nil {
		return "https://" + state.host
	}
	return "http://" + state.host
}

// placeholders are the values under {http.veeam_auth.*}.
func (state *requestState) placeholders(key string) (any, bool) {
	const prefix = "http.veeam_auth."
	if !strings.HasPrefix(key, prefix) {
		return nil, false
	}
	switch key[len(prefix):] {
	case "client":
		return state.caller.Identity(), true
	case "via":
		return string(state.caller.Via), true
	case "account":
		return state.account, true
	case "operation":
		return state.operation.Name, true
	case "class":
		return state.operation.Class.String(), true
	case "rule":
		return state.decision.Rule, true
	case "decision":
		return state.decided, true
	case "source":
		return state.source, true
	case "certificate.spki":
		return tlspin.SPKI(state.tls), true
	case "peer.uid", "peer.gid", "peer.pid":
		return state.peerPart(key[len(prefix+"peer."):]), true
	}
	return nil, false
}

// peerPart is a part of the credentials of the peer, empty where there are none.
func (state *requestState) peerPart(name string) any {
	if state.ctx == nil {
		return ""
	}
	p, ok := process.PeerOfRequest(state.ctx)
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

// stateOf returns the state of a request, nil if no handler has admitted it. Health checks
// have none.
func stateOf(ctx context.Context) *requestState {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	state, _ := vars[stateVar].(*requestState)
	return state
}

// request is what a token is for.
func (state *requestState) request() upstream.Request {
	return upstream.Request{Values: grantValues, Journal: state.journal}
}
