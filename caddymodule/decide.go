// What a caller may do, and as which account.

package caddymodule

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// decide asks the rules. A caller who is not known passes only by a rule that
// says so.
func (h *Handler) decide(r *http.Request, e *exchange, unknown *veeam.Refusal) *veeam.Refusal {
	h.lookup(e)
	if len(h.Rules) == 0 && h.Default == "" {
		return unknown
	}
	defer h.show(r, e)()
	decision, err := h.rules.Decide(r, unknown == nil)
	if err != nil {
		h.logger.Error("a rule could not be decided", zap.Error(err))
	}
	e.decision, e.decided, e.source = decision, decisionWord(decision.Allowed), h.ruleSource(decision.Rule)
	h.countDecision(decision)
	if decision.Shadow != 0 {
		e.journal.shadow(e.caller.Identity(), decision.Allowed, h.source(decision.Shadow))
	}
	if decision.Allowed {
		e.journal.allowed(e.caller.Identity(), h, decision.Rule)
		return nil
	}
	if unknown != nil {
		return unknown
	}
	return &veeam.Refusal{Reason: veeam.ReasonDenied, Detail: "this is decided by " + h.source(decision.Rule)}
}

// lookup finds out which operation is asked for.
func (h *Handler) lookup(e *exchange) {
	if h.index != nil {
		e.operation, _ = h.index.Lookup(e.sent.method, e.sent.path)
	}
}

// show prepares a request for the eyes of rules: what is known about it, the method
// that the server will read, and the path without a slash at its end. Where a
// condition regards the case of letters, it sees path and names of parameters in
// lower case. restore gives the request its own path back.
func (h *Handler) show(r *http.Request, e *exchange) (restore func()) {
	e.account = h.accountFor(r, e)
	caddyhttp.SetVar(r.Context(), exchangeVar, e)
	own, method := *r.URL, r.Method
	r.URL.Path, r.URL.RawPath, r.Method = withoutSlash(own.Path), withoutSlash(own.RawPath), e.sent.method
	if canonicalising && slices.ContainsFunc(h.Rules, func(rule *Rule) bool { return rule.folds }) {
		r.URL.Path, r.URL.RawPath = operation.Fold(r.URL.Path), ""
		r.URL.RawQuery = operation.FoldQuery(own.RawQuery)
	}
	return func() { *r.URL, r.Method = own, method }
}

// withoutSlash is a path without the slash at its end, which the servers
// overlook: a rule about a path is also one about the path with a slash.
func withoutSlash(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}

// source says which rule has decided.
func (h *Handler) source(rule int) string {
	if rule == 0 {
		return "the default, because no rule matches"
	}
	text := "rule " + strconv.Itoa(rule)
	if source := h.ruleSource(rule); source != "" {
		text += " at " + source
	}
	return text
}

// ruleSource is where a rule is written, empty for the default.
func (h *Handler) ruleSource(rule int) string {
	if rule == 0 {
		return ""
	}
	return h.Rules[rule-1].Source
}

func decisionWord(allowed bool) string {
	if allowed {
		return string(policy.Allow)
	}
	return string(policy.Deny)
}

func (h *Handler) countDecision(d policy.Decision) {
	count := func(rule int, decision string) {
		h.metrics.Decisions.WithLabelValues(h.product.Name, strconv.Itoa(rule), h.ruleSource(rule), decision).Inc()
	}
	count(d.Rule, decisionWord(d.Allowed))
	if d.Shadow != 0 {
		count(d.Shadow, "shadow_"+decisionWord(!d.Allowed))
	}
}

// chooseAccount finds out which account the request acts as: what act_as says,
// else the caller's own, else the first. A guest acts as itself.
func (h *Handler) chooseAccount(r *http.Request, e *exchange) *veeam.Refusal {
	e.account = h.accountFor(r, e)
	if e.account != "" || h.ActAs == "" || e.route == veeam.RouteAnonymous || e.caller.Via == policy.ViaPassthrough {
		return nil
	}
	return &veeam.Refusal{Reason: veeam.ReasonNoAccount, Detail: "no account is left to act as, because act_as yields nothing for this request", AtTokenEndpoint: e.route == veeam.RouteToken}
}

func (h *Handler) accountFor(r *http.Request, e *exchange) string {
	if h.ActAs == "" || e.route == veeam.RouteAnonymous || e.caller.Via == policy.ViaPassthrough {
		return e.caller.Account
	}
	return h.actAs(r)
}

// actAs is the account that the request acts as.
func (h *Handler) actAs(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	return strings.TrimSpace(repl.ReplaceAll(h.ActAs, ""))
}
