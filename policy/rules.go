// Rules: in order, the first that matches decides.

package policy

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
)

// Matcher is the condition of a rule. Caddy's sets of request matchers implement it.
type Matcher interface {
	// MatchWithError reports whether the request matches. On an error a deny rule
	// matches, an allow rule does not, and an approve rule denies.
	MatchWithError(r *http.Request) (bool, error)
}

// ErrDoubt is the error of a Matcher that cannot tell whether a request matches. It is
// decided as other errors are, and not reported.
var ErrDoubt = errors.New("it is not known whether the request matches")

// AnySpelling is a Matcher that looks at nothing that a request can spell in several ways:
// not at its method, path or query.
type AnySpelling interface {
	Matcher
	AnySpelling()
}

// Effect is the decision of a rule.
type Effect string

// The effects.
const (
	Allow   Effect = "allow"
	Deny    Effect = "deny"
	Approve Effect = "approve" // allow if an operator has approved this very request
)

// Rule is one rule. It matches if any of its matchers does, or if it has none.
type Rule struct {
	Effect   Effect
	Matchers []Matcher

	// Shadow rules are evaluated and reported, but not enforced.
	Shadow bool

	// Unknown rules also apply to unknown callers. No other rule and no default admits
	// them. Not allowed for Approve, because the caller is part of what is approved.
	Unknown bool

	// Source is the rule's place in the configuration, such as Caddyfile:12.
	Source string

	// Ended reports that the rule had an end, which has passed.
	Ended bool
}

// Rules is an ordered list of rules.
type Rules struct {
	Rules []Rule

	// Default is the decision if no rule matches.
	Default Effect
}

// Decision is the result for one request.
type Decision struct {
	Allowed bool

	// Approval reports that the request requires an approval. Allowed is false then.
	Approval bool

	// Rule is the position of the deciding rule, from 1; 0 is the default.
	Rule int

	// Shadow is the position of the first preceding shadow rule with another decision,
	// 0 if there is none.
	Shadow int
}

// Effect returns the decision as an effect.
func (d Decision) Effect() Effect {
	switch {
	case d.Allowed:
		return Allow
	case d.Approval:
		return Approve
	}
	return Deny
}

// NewRules validates the rules and sets the default: if none is given, deny if any rule
// allows something, with or without an approval, otherwise allow.
func NewRules(rules []Rule, fallback Effect) (*Rules, error) {
	for i, rule := range rules {
		switch {
		case rule.Effect != Allow && rule.Effect != Deny && rule.Effect != Approve:
			return nil, fmt.Errorf("rule %d: %q is not allow, deny or approve", i+1, rule.Effect)
		case rule.Effect == Approve && rule.Unknown:
			return nil, fmt.Errorf("rule %d: approve does not accept unknown_callers: an approval is for one caller", i+1)
		}
	}
	switch fallback {
	case Allow, Deny:
	case "":
		fallback = Allow
		for _, rule := range rules {
			if rule.Effect != Deny && !rule.Shadow {
				fallback = Deny
			}
		}
	default:
		return nil, fmt.Errorf("default %q is neither allow nor deny", fallback)
	}
	return &Rules{Rules: rules, Default: fallback}, nil
}

// Idle yields the positions of rules that decide about no request, and why.
func (r *Rules) Idle() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		// A rule that matches every request leaves nothing to those behind it. One that
		// does not apply to unknown callers leaves them to later rules with unknown_callers,
		// and to rules that deny before such a one.
		all, known, admits := 0, 0, 0
		for i, rule := range r.Rules {
			if rule.Unknown && rule.Effect == Allow {
				admits = i
			}
		}
		for i, rule := range r.Rules {
			by, why := all, ""
			if forKnown := !rule.Unknown && (rule.Effect != Deny || i > admits); all == 0 && forKnown {
				by = known
			}
			switch {
			case by != 0:
				why = fmt.Sprintf("rule %d before it matches every request", by)
				if source := r.Rules[by-1].Source; source != "" {
					why = fmt.Sprintf("rule %d at %s before it matches every request", by, source)
				}
			case rule.Ended:
				why = "its until is in the past"
			case len(rule.Matchers) > 0 || rule.Shadow:
			case rule.Unknown || rule.Effect == Deny:
				all = i + 1
			case known == 0:
				known = i + 1
			}
			if why != "" && !yield(i+1, why) {
				return
			}
		}
	}
}

// Requires reports whether a rule that is enforced has an effect.
func (r *Rules) Requires(effect Effect) bool {
	return slices.ContainsFunc(r.Rules, func(rule Rule) bool { return rule.Effect == effect && !rule.Shadow })
}

// Decide evaluates the rules for a request of a known or unknown caller. The error
// joins the errors of failed matchers; the decision is valid nevertheless.
func (r *Rules) Decide(req *http.Request, known bool) (decision Decision, err error) {
	shadow := 0
	effect := r.Default
	if !known {
		effect = Deny
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if rule.Shadow && shadow != 0 || !known && rule.Effect != Deny && !rule.Unknown {
			continue
		}
		found := rule.Effect
		matched, matchErr := rule.Matches(req)
		if matchErr != nil {
			matched, found = rule.Effect != Allow, Deny
		}
		if matchErr != nil && !errors.Is(matchErr, ErrDoubt) {
			err = errors.Join(err, fmt.Errorf("rule %d (%s): %w", i+1, rule.Source, matchErr))
		}
		if !matched {
			continue
		}
		if rule.Shadow {
			shadow = i + 1
			continue
		}
		effect, decision.Rule = found, i+1
		break
	}
	decision.Allowed, decision.Approval = effect == Allow, effect == Approve
	if shadow != 0 && r.Rules[shadow-1].Effect != effect {
		decision.Shadow = shadow
	}
	return decision, err
}

// Matches reports whether the condition of the rule matches.
func (r *Rule) Matches(req *http.Request) (bool, error) {
	if len(r.Matchers) == 0 {
		return true, nil
	}
	for _, m := range r.Matchers {
		if ok, err := m.MatchWithError(req); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}
