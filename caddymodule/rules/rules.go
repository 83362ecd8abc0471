// Package rules has the rules of a handler: their configuration, which is Caddy's matchers and
// presets, and what they say about a request. Package caddymodule imports it.
package rules

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/operations"
	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/rulecase"
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

// Set is the rules of a handler, loaded.
type Set struct {
	*policy.Rules
	Words canonical.Words // of the conditions of all rules
	Folds bool            // a condition is sensitive to case

	doubtful *policy.Rules // the same rules, for operations that no index knows
	list     []*Rule
}

// Load loads the matchers of all rules. fallback is the decision if no rule matches; empty
// for the default.
func Load(ctx caddy.Context, list []*Rule, fallback string) (s *Set, err error) {
	s = &Set{Words: make(canonical.Words), list: list}
	rules := make([]policy.Rule, len(list))
	loaded := make([][]policy.Matcher, len(list))
	opened := false // an operation outside the index is allowed explicitly
	for i, r := range list {
		if loaded[i], err = r.matchers(ctx); err != nil {
			return nil, fmt.Errorf("veeam_auth: rule %d%s: %w", i+1, r.at(), err)
		}
		s.Words.Add(r.text)
		s.Folds = s.Folds || r.folds
		opened = opened || r.Effect != string(policy.Deny) && !r.Shadow && r.namesUnknown
	}
	for i, r := range list {
		rules[i] = policy.Rule{Effect: policy.Effect(r.Effect), Matchers: loaded[i], Shadow: r.Shadow, Unknown: r.UnknownCallers, Source: r.Source, Ended: r.ended}
	}
	if s.Rules, err = policy.NewRules(rules, policy.Effect(fallback)); err != nil {
		return nil, fmt.Errorf("veeam_auth: %w", err)
	}
	s.doubtful = &policy.Rules{Rules: slices.Clone(rules), Default: s.Default}
	for i, r := range list {
		matchers, effect := slices.Clone(loaded[i]), policy.Effect(r.Effect)
		for j, m := range matchers {
			if !opened && (effect == policy.Deny || !r.explicit(j)) {
				matchers[j] = unknownClass{m, effect}
			}
		}
		s.doubtful.Rules[i].Matchers = matchers
	}
	return s, nil
}

// Decide evaluates the rules, see policy.Rules.
func (s *Set) Decide(r *http.Request, known bool) (policy.Decision, error) {
	return s.about(r).Decide(r, known)
}

// about returns the rules for a request. Where the class of its operation is known, they do not
// ask for it, which would cost more than they do.
func (s *Set) about(r *http.Request) *policy.Rules {
	if state, ok := operations.Of(r); ok && state.Class() == operation.Unknown {
		return s.doubtful
	}
	return s.Rules
}

// Effect returns the effect of a rule, by its position from 1.
func (s *Set) Effect(rule int) policy.Effect { return policy.Effect(s.list[rule-1].Effect) }

// Reveals reports whether a rule names the class secret.
func (s *Set) Reveals(rule int) bool { return rule > 0 && s.list[rule-1].reveals }

// Describe names the deciding rule for the log.
func (s *Set) Describe(rule int) string {
	if rule == 0 {
		return "the default, because no rule matches"
	}
	text := "rule " + strconv.Itoa(rule)
	if source := s.Source(rule); source != "" {
		text += " at " + source
	}
	return text
}

// Source returns the place of a rule in the configuration, empty for the default.
func (s *Set) Source(rule int) string {
	if rule == 0 {
		return ""
	}
	return s.list[rule-1].Source
}

// Outcome is the outcome of a rule that does not decide about a request.
type Outcome struct {
	Source  string // the rule's number and place in the configuration
	Effect  policy.Effect
	Outcome string // a predicate, such as "does not match"
}

// Outcomes returns the outcomes of the rules before the deciding one.
func (s *Set) Outcomes(r *http.Request, decides int) (found []Outcome) {
	for i, rule := range s.about(r).Rules {
		if i+1 == decides {
			break
		}
		matched, err := rule.Matches(r)
		outcome := "does not match"
		switch {
		case err != nil:
			outcome = "cannot be evaluated: " + err.Error()
		case matched && rule.Shadow:
			outcome = "matches, not enforced (shadow)"
		case matched:
			outcome = "matches, but does not apply to unknown callers"
		}
		found = append(found, Outcome{Source: s.Describe(i + 1), Effect: rule.Effect, Outcome: outcome})
	}
	return found
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
