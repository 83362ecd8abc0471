// The decision of the handler about a request, and the result of the transport.

package caddymodule

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/caddymodule/operations"
	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
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
const stateVar = operations.Var

// Class implements operations.Classified.
func (state *requestState) Class() operation.Class { return state.operation.Class }

// SetClass implements operations.Classified.
func (state *requestState) SetClass(class operation.Class) { state.operation.Class = class }

// requestState is the decision of the handler about a request. The handler completes it
// before it calls the next handler; it is read-only afterwards. reverse_proxy may send
// the request to several upstreams with the same state.
type requestState struct {
	handler   *Handler          // that decides; nil for none
	sent      canonical.Request // the request of the decision
	ambiguous *veeam.Refusal    // nil if the request is not ambiguous
	route     veeam.Route
	operation operation.Operation
	presented string // the session or, at the token endpoint, the credential
	caller    policy.Caller
	decision  policy.Decision
	source    string           // file and line of the deciding rule
	account   string           // to act as, empty for the first one
	approved  *approval.Ticket // nil if no approval is required
	narrowed  string           // what the limits of the client or key deny, empty for nothing
	journal   journal.Journal

	// ctx, tls and host are those of the request as received, for values that are
	// rarely read.
	ctx  context.Context
	tls  *tls.ConnectionState
	host string

	// user is the login that the request acts as, if the caller has its own; login is
	// the request for a new one. Nil for others.
	user  *passthrough.User
	login *passthrough.Login

	// answer makes the response of the token endpoint once there is a session. Nil on
	// other routes.
	answer tokenAnswer

	// found is the result of the transport, not part of the decision.
	found *found

	// recorder writes the response and records what the log shows of it.
	recorder *forwarder.Recorder

	// exchange is the request as the forwarder has sent it on, nil if reverse_proxy has.
	exchange *forwarder.Exchange

	ruled  bool // the rules have made the decision
	filter bool // secrets are removed from the response
	hides  bool // a header or the query of the request may contain a secret

	// dials is how many connections net/http has dialed in the present attempt. Like found,
	// it is not part of the decision. Read and written atomically.
	dials int32
}

// found is the result of the transport. The transport writes it after each attempt to
// send the request; the handler writes what it refuses itself, and reads it at the end.
type found struct {
	refused *veeam.Refusal // the refusal sent instead of a response of the server; nil if there is none
	session http.Header    // session headers of the response to a login, for the client only
	spent   io.ReadCloser  // the body that an earlier attempt may have read, nil for none; kept from attempt to attempt
}

// newRequestState returns the state of a request before the decision.
func newRequestState(r *http.Request) *requestState {
	all := new(struct { // one allocation
		state    requestState
		found    found
		recorder forwarder.Recorder
	})
	state := &all.state
	state.tls, state.host, state.found, state.recorder = r.TLS, r.Host, &all.found, &all.recorder
	return state
}

// early reports whether the request is refused because it is early data.
func (state *requestState) early() bool {
	return state.ambiguous != nil && state.ambiguous.Reason == veeam.ReasonTooEarly
}

// terms returns how the response is changed for the client. The response to a
// documented operation that is not of class secret contains no session.
func (state *requestState) terms(product *veeam.Product) answer.Terms {
	if state == nil {
		return answer.Terms{}
	}
	unsure := state.operation.Class == operation.Unknown || state.operation.Class == operation.Secret
	return answer.Terms{Filter: state.filter, Tokens: state.route == veeam.RouteProtected && unsure, Linked: product.Linked}
}

// decided is the decision of the rules: allow, deny or approve, empty without rules.
func (state *requestState) decided() string {
	if !state.ruled {
		return ""
	}
	return string(state.decision.Effect())
}

// proxied reports whether the request is for the server, so that operations, limits and
// rules apply.
func (state *requestState) proxied() bool {
	return state.ambiguous == nil && (state.route == veeam.RouteProtected || state.route == veeam.RouteAnonymous)
}

// spells returns how the server spells JSON names, nil without a decision.
func (state *requestState) spells() *veeam.Spelling {
	if state == nil || state.handler == nil {
		return nil
	}
	return state.handler.names
}

// origin returns the scheme and host by which the client addresses this site.
func (state *requestState) origin() string {
	if state.tls != nil {
		return "https://" + state.host
	}
	return "http://" + state.host
}

// placeholders returns the values under {http.veeam_auth.*}, and those of reverse_proxy that
// the forwarder knows.
func (state *requestState) placeholders(key string) (any, bool) {
	const prefix = "http.veeam_auth."
	if !strings.HasPrefix(key, prefix) {
		return state.exchange.Placeholder(key)
	}
	switch key[len(prefix):] {
	case "client":
		return state.caller.Identity(), true
	case "key":
		if state.caller.Key == nil {
			return "", true
		}
		return state.caller.Key.Name, true
	case "provider":
		return state.caller.Provider, true
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
		return state.decided(), true
	case "source":
		return state.source, true
	case "certificate.spki":
		return tlspin.SPKI(state.tls), true
	case "peer.uid", "peer.gid", "peer.pid":
		return process.PartOfPeer(state.ctx, key[len(prefix+"peer."):]), true
	}
	return nil, false
}

// stateOf returns the state of a request, nil if no handler has admitted it, as for
// health checks.
func stateOf(ctx context.Context) *requestState {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	state, _ := vars[stateVar].(*requestState)
	return state
}

// dialsOf returns where the connections that a request dials are counted, nil for none.
func dialsOf(ctx context.Context) *int32 {
	if state := stateOf(ctx); state != nil {
		return &state.dials
	}
	return nil
}

// request returns the request for a token.
func (state *requestState) request() upstream.Request {
	return upstream.Request{Values: dialing.Values, Journal: state.journal, Operation: state.operation}
}
