// What a caller may do, as which account, and whether it gets secrets.

package caddymodule

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// verdict is the result of the order of decisions.
type verdict struct {
	refusal *veeam.Refusal // nil if the request is allowed
	ruled   bool           // the rules were evaluated
	err     error          // of a rule that could not be evaluated
}

// open begins the order of decisions: it normalizes the request to the form in which it
// will be sent, and all decisions are about this form.
func (h *Handler) open(r *http.Request) *requestState {
	state := newRequestState(r)
	state.handler = h
	tracing.HidePath(r.Context(), r.URL.Path, svclog.MaskPath)
	state.sent, state.ambiguous = h.spelling(r)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		state.ctx = r.Context()
		repl.Map(state.placeholders)
	}
	if listener.Early(r) {
		state.ambiguous = &veeam.Refusal{Reason: veeam.ReasonTooEarly}
	}
	if state.route = h.product.Classify(state.sent.Method, r.URL.Path); state.route == veeam.RouteProtected && h.product.AsksForSessions(r.URL.RawQuery) {
		state.route = veeam.RouteClosed
	}
	if state.presented = keys.Presented(r.Header); state.presented != "" && state.route != veeam.RouteToken {
		return state
	}
	state.presented = cmp.Or(h.product.Presented(r.Header, state.route, h.product.LogsOnByBasic() && h.crossSite(r, state.route)), h.jwts.Presented(r.Header))
	return state
}

// judge is the order of decisions about a request whose caller has been identified:
// route, rules, account. It is the only one; ServeHTTP and Explain both run it. It does
// nothing else: nothing is logged, counted, read or sent. unknown is the reason why the
// caller is not known, nil if it is. trace, unless nil, is called after the rules with
// the request as they see it. The token endpoint checks the credentials in a body
// later.
func (h *Handler) judge(r *http.Request, state *requestState, unknown *veeam.Refusal, trace func(*http.Request)) (v verdict) {
	session := state.route == veeam.RouteToken || state.route == veeam.RouteLogout || state.route == veeam.RouteSession
	if state.hides = headers.StripCredentials(r, listener.Target(r)) || state.sent.Hid; state.hides || session && h.product.LogsOnByBasic() { // responses and paths of such a product contain sessions
		// Caddy's access log already has a copy of the request, in which it masks the
		// standard headers only.
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
	if state.ambiguous != nil {
		refusal := *state.ambiguous
		refusal.AtTokenEndpoint = state.route == veeam.RouteToken
		v.refusal = &refusal
		return v
	}
	if state.proxied() && h.index != nil {
		state.operation, _ = h.index.Lookup(state.sent.Method, state.sent.Path, state.sent.Query)
	}
	if unknown == nil && state.route != veeam.RouteToken && state.route != veeam.RouteLogout {
		if v.refusal = h.narrow(r, state); v.refusal != nil {
			return v
		}
	}
	switch state.route {
	case veeam.RouteToken:
		return v
	case veeam.RouteLogout, veeam.RouteAuthorizationCode, veeam.RouteSession:
		if v.refusal = unknown; unknown == nil && state.caller.Provider != "" && state.route == veeam.RouteAuthorizationCode {
			v.refusal = &veeam.Refusal{Reason: veeam.ReasonDenied, Detail: "a caller with a token of an identity provider gets no other tokens"}
		}
		return v
	case veeam.RouteClosed:
		if v.refusal = unknown; unknown == nil {
			v.refusal = h.closedRoute()
		}
		return v
	}
	if h.askRules(r, state, unknown, trace, &v); v.refusal != nil {
		return v
	}
	if unknown != nil {
		state.route = veeam.RouteAnonymous // a rule allows unknown callers to send requests, but not to act as the account
	}
	v.refusal = h.chooseAccount(r, state)
	return v
}

// narrow returns the refusal of a request that the limits of its client or key deny. They
// come before the rules and allow nothing.
func (h *Handler) narrow(r *http.Request, state *requestState) *veeam.Refusal {
	class := ""
	if state.proxied() {
		class = state.operation.Class.String()
	}
	if state.narrowed = h.clients.Denies(&state.caller, policy.Now(r.Context()), class); state.narrowed == "" {
		return nil
	}
	return &veeam.Refusal{Reason: veeam.ReasonDenied, Detail: state.narrowed, AtTokenEndpoint: state.route == veeam.RouteToken}
}

// askRules evaluates the rules. An unknown caller is allowed only by a rule with
// unknown_callers.
func (h *Handler) askRules(r *http.Request, state *requestState, unknown *veeam.Refusal, trace func(*http.Request), v *verdict) {
	if len(h.Rules) == 0 && h.Default == "" {
		v.refusal = unknown
		return
	}
	defer h.show(r, state)()
	state.decision, v.err = h.rules.Decide(r, unknown == nil)
	v.ruled, state.ruled, state.source = true, true, h.rules.Source(state.decision.Rule)
	if trace != nil {
		trace(r)
	}
	switch {
	case state.decision.Allowed, state.decision.Approval: // approve asks for the approval
	case unknown != nil:
		v.refusal = unknown
	default:
		v.refusal = &veeam.Refusal{Reason: veeam.ReasonDenied, Detail: "this is decided by " + h.rules.Describe(state.decision.Rule) +
			operation.Advice(state.operation, state.sent.Method, state.sent.Path, state.sent.Query)}
	}
}

// record counts and logs the result of the rules.
func (h *Handler) record(state *requestState, v *verdict) {
	if !v.ruled {
		return
	}
	if v.err != nil {
		h.said.Error(h.logger, v.err.Error(), "a rule could not be evaluated", zap.Error(v.err))
	}
	h.countDecision(state.decision)
	if state.decision.Shadow != 0 {
		state.journal.Shadow(state.caller.Identity(), string(h.rules.Effect(state.decision.Shadow)), h.rules.Describe(state.decision.Shadow))
	}
	if state.decision.Allowed {
		if state.journal.Debug() {
			state.journal.Allowed(state.caller.Identity(), h.rules.Describe(state.decision.Rule))
		}
	}
}

// closedRoute returns the refusal of a request for a session by an undocumented route:
// the response would contain the shared session, and the request may contain a
// credential.
func (h *Handler) closedRoute() *veeam.Refusal {
	return &veeam.Refusal{
		Reason:  veeam.ReasonDenied,
		Message: "Sessions are created and ended at " + h.product.TokenPath + " only.",
		Detail:  "sessions are created and ended at " + h.product.TokenPath + " only",
	}
}

// spelling returns the normalized request, or the refusal of an ambiguous one, or of one
// with a key in its address.
func (h *Handler) spelling(r *http.Request) (canonical.Request, *veeam.Refusal) {
	if h.uncanonical {
		return canonical.AsItIs(r), nil
	}
	sent, refusal := canonical.Make(r, h.rules.Words)
	if refusal == nil && (keys.InAddress(sent.Path) || keys.InAddress(sent.Query)) {
		refusal = &veeam.Refusal{
			Reason: veeam.ReasonBadRequest, Message: "The address holds a key. Send it in a header, and issue another one: addresses get into logs.",
			Detail: "the address holds a key, which is to be replaced: addresses get into logs",
		}
	}
	return sent, refusal
}

// show prepares a request for the rules: it sets what is known about it, and replaces
// the request by its normalized form, folded for conditions that are sensitive to case.
// restore reverts the changes.
func (h *Handler) show(r *http.Request, state *requestState) (restore func()) {
	state.account = h.accountFor(r, state)
	caddyhttp.SetVar(r.Context(), stateVar, state)
	return state.sent.Show(r, !h.uncanonical && h.rules.Folds)
}

func (h *Handler) countDecision(d policy.Decision) {
	count := func(rule int, decision string) {
		h.metrics.Decisions.WithLabelValues(h.product.Name, strconv.Itoa(rule), h.rules.Source(rule), decision).Inc()
	}
	count(d.Rule, string(d.Effect()))
	if d.Shadow != 0 {
		count(d.Shadow, "shadow_"+string(h.rules.Effect(d.Shadow)))
	}
}

// chooseAccount selects the account that the request acts as: that of act_as, otherwise
// the caller's own, otherwise the first. A user of passthrough acts as itself.
func (h *Handler) chooseAccount(r *http.Request, state *requestState) *veeam.Refusal {
	state.account = h.accountFor(r, state)
	if state.narrowed = state.caller.Key.Outside(cmp.Or(state.account, h.first)); state.narrowed != "" && state.route != veeam.RouteAnonymous {
		return &veeam.Refusal{Reason: veeam.ReasonDenied, Detail: state.narrowed, AtTokenEndpoint: state.route == veeam.RouteToken}
	}
	if state.account != "" || h.ActAs == "" || state.route == veeam.RouteAnonymous || state.caller.Via == policy.ViaPassthrough {
		return nil
	}
	return &veeam.Refusal{Reason: veeam.ReasonNoAccount, Detail: "act_as is empty for this request, so there is no account to act as", AtTokenEndpoint: state.route == veeam.RouteToken}
}

func (h *Handler) accountFor(r *http.Request, state *requestState) string {
	if h.ActAs == "" || state.route == veeam.RouteAnonymous || state.caller.Via == policy.ViaPassthrough {
		return state.caller.Account
	}
	return h.actAs(r)
}

// actAs returns the account of act_as.
func (h *Handler) actAs(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	return strings.TrimSpace(repl.ReplaceAll(h.ActAs, ""))
}

// filters reports whether secrets are removed from the response.
func (h *Handler) filters(state *requestState) bool {
	if h.FilterSecrets == nil || h.FilterSecrets.Excepts(&state.caller) {
		return false
	}
	revealed := h.rules.Reveals(state.decision.Rule) && state.decision.Effect() != policy.Deny && state.operation.Class == operation.Secret
	return !revealed
}
