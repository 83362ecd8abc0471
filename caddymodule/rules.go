// The configuration of rules: Caddy's matchers and presets.

package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/operations"
	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/rulecase"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Rule allows or denies requests, or has them wait for an operator.
type Rule struct {
	// The decision: `allow`, `deny`, or `approve` for requests that are allowed once an
	// operator has approved them. Required.
	Effect string `json:"effect"`

	// The conditions: Caddy's request matchers. The rule matches if all matchers of any
	// set match. Default: it matches every request.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// A named set of operations instead of matchers: `monitor` and `report` (read
	// only), or `operate` (read, start and stop).
	Preset string `json:"preset,omitempty"`

	// Whether the rule is only evaluated, logged and counted, but not enforced.
	Shadow bool `json:"shadow,omitempty"`

	// Whether the rule also applies to unknown callers. Other rules never admit them.
	// Their requests are forwarded without a token, whatever the rule matches. Not allowed
	// with `approve`. Default: false.
	UnknownCallers bool `json:"unknown_callers,omitempty"`

	// The rule's place in the configuration, for the log. Set by the Caddyfile
	// directive.
	Source string `json:"source,omitempty"`

	reveals      bool   // allows requests of class secret, among others
	namesUnknown bool   // names the class unknown as its only condition
	ended        bool   // its until is in the past
	folds        bool   // has a condition that is sensitive to case
	withUnknown  []bool // the matcher sets that name it
	text         string // of the conditions
}

// at returns the place of the rule in the configuration, for errors.
func (r *Rule) at() string {
	if r.Source == "" {
		return ""
	}
	return " (" + r.Source + ")"
}

// explicit reports whether a matcher set names the class unknown, and so decides about
// it itself.
func (r *Rule) explicit(set int) bool { return set < len(r.withUnknown) && r.withUnknown[set] }

// unknownClass is the condition of a rule for operations that are not in the index.
// Their class is not known: it may be one that is denied, or one that is not allowed.
// Therefore the condition of a rule that denies holds if it holds for any class, and
// that of another rule if it holds for every class. An approve rule that holds for some
// classes only denies.
type unknownClass struct {
	policy.Matcher
	effect policy.Effect
}

// MatchWithError implements policy.Matcher.
func (m unknownClass) MatchWithError(r *http.Request) (bool, error) {
	matched, err := m.Matcher.MatchWithError(r)
	state := stateOf(r.Context())
	if err != nil || state == nil {
		return matched, err
	}
	defer func() { state.operation.Class = operation.Unknown }()
	some, all := matched, matched
	for _, state.operation.Class = range operation.Classes() {
		if matched, err = m.Matcher.MatchWithError(r); err != nil {
			return matched, err
		}
		some, all = some || matched, all && matched
	}
	switch {
	case m.effect == policy.Deny:
		return some, nil
	case m.effect == policy.Approve && some != all:
		return false, policy.ErrDoubt
	}
	return all, nil
}

// provisionRules loads the matchers of all rules.
func (h *Handler) provisionRules(ctx caddy.Context) (err error) {
	rules := make([]policy.Rule, len(h.Rules))
	loaded := make([][]policy.Matcher, len(h.Rules))
	opened := false // an operation outside the index is allowed explicitly
	h.words = make(canonical.Words)
	for i, r := range h.Rules {
		if loaded[i], err = r.matchers(ctx); err != nil {
			return fmt.Errorf("veeam_auth: rule %d%s: %w", i+1, r.at(), err)
		}
		h.words.Add(r.text)
		opened = opened || r.Effect != string(policy.Deny) && !r.Shadow && r.namesUnknown
	}
	for i, r := range h.Rules {
		rules[i] = policy.Rule{Effect: policy.Effect(r.Effect), Matchers: loaded[i], Shadow: r.Shadow, Unknown: r.UnknownCallers, Source: r.Source, Ended: r.ended}
	}
	if h.rules, err = policy.NewRules(rules, policy.Effect(h.Default)); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	h.doubtful = &policy.Rules{Rules: slices.Clone(rules), Default: h.rules.Default}
	for i, r := range h.Rules {
		matchers, effect := slices.Clone(loaded[i]), policy.Effect(r.Effect)
		for j, m := range matchers {
			if !opened && (effect == policy.Deny || !r.explicit(j)) {
				matchers[j] = unknownClass{m, effect}
			}
		}
		h.doubtful.Rules[i].Matchers = matchers
	}
	return nil
}

// rulesFor returns the rules for a request. Those for an operation of known class do not
// ask for the class, which would cost more than they do.
func (h *Handler) rulesFor(state *requestState) *policy.Rules {
	if state.operation.Class == operation.Unknown {
		return h.doubtful
	}
	return h.rules
}

// warnStrangers logs the rules that allow unknown callers more than what the server
// answers without a token.
func (h *Handler) warnStrangers() {
	if h.index == nil {
		return
	}
	for i := range h.rules.Rules {
		rule := &h.rules.Rules[i]
		if rule.Effect != policy.Allow || !rule.Unknown || rule.Shadow {
			continue
		}
		if op, ok := h.needsToken(rule); ok {
			h.logger.Warn("a rule with unknown_callers allows operations that require a token; unknown callers act as no account, so the server refuses them",
				zap.String("rule", h.source(i+1)), zap.String("operation", op.Method+" "+op.Target()))
		}
	}
}

// needsToken returns an operation that a rule matches and that requires a token.
func (h *Handler) needsToken(rule *policy.Rule) (operation.Operation, bool) {
	for _, op := range h.index.All() {
		if h.product.Classify(op.Method, op.Path) != veeam.RouteProtected {
			continue
		}
		r := &http.Request{
			Method: op.Method, URL: &url.URL{Path: op.Path, RawQuery: op.Query}, RequestURI: op.Target(), Header: http.Header{}, Body: http.NoBody,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server))
		caddyhttp.SetVar(r.Context(), stateVar, &requestState{operation: op})
		if matched, err := rule.Matches(r); matched && err == nil {
			return op, true
		}
	}
	return operation.Operation{}, false
}

func (r *Rule) matchers(ctx caddy.Context) ([]policy.Matcher, error) {
	if r.Preset != "" {
		classes, ok := operation.Preset(r.Preset)
		if !ok {
			return nil, operation.UnknownPreset(r.Preset)
		}
		return []policy.Matcher{classMatcher(classes)}, nil
	}
	if r.MatcherSetsRaw == nil {
		return nil, nil
	}
	var err error
	folded := make(caddyhttp.RawMatcherSets, len(r.MatcherSetsRaw))
	for i, set := range r.MatcherSetsRaw {
		for name, raw := range set {
			r.text += name + " " + string(raw) + " "
		}
		if folded[i], err = rulecase.Set(set); err != nil {
			return nil, err
		}
	}
	r.MatcherSetsRaw = folded
	loaded, err := ctx.LoadModule(r, "MatcherSetsRaw")
	if err != nil {
		return nil, err
	}
	var sets caddyhttp.MatcherSets
	if err := sets.FromInterface(loaded); err != nil {
		return nil, err
	}
	r.reveals = len(sets) > 0 && !slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool { return !operations.Named(set, operation.Secret) })
	r.namesUnknown = slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool { return len(set) == 1 && operations.Named(set, operation.Unknown) })
	r.ended = operations.Ended(sets, time.Now())
	matchers := make([]policy.Matcher, len(sets))
	r.withUnknown = make([]bool, len(sets))
	for i, set := range sets {
		matchers[i] = operations.Simplify(set)
		_, simple := matchers[i].(policy.All)
		r.folds = r.folds || !simple
		r.withUnknown[i] = operations.Named(set, operation.Unknown)
	}
	return matchers, nil
}

// classMatcher matches operations of several classes.
type classMatcher operation.Set

// MatchWithError implements policy.Matcher.
func (m classMatcher) MatchWithError(r *http.Request) (bool, error) {
	state := stateOf(r.Context())
	return state != nil && operation.Set(m).Has(state.operation.Class), nil
}
