// Rules: in order, the first that matches decides.

package policy

import (
	"errors"
	"fmt"
	"net/http"
)

// Matcher is the condition of a rule. Caddy's sets of request matchers implement it.
type Matcher interface {
	// MatchWithError reports whether the request matches. On an error a deny rule
	// matches and an allow rule does not.
	MatchWithError(r *http.Request) (bool, error)
}

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
	Allow Effect = "allow"
	Deny  Effect = "deny"
)

// Rule is one rule. It matches if any of its matchers does, or if it has none.
type Rule struct {
	Effect   Effect
	Matchers []Matcher

	// Shadow rules are evaluated and reported, but not enforced.
	Shadow bool

	// Unknown rules also apply to unknown callers. No other rule and no default admits
	// them.
	Unknown bool

	// Source is the rule's place in the configuration, such as Caddyfile:12.
	Source string
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

	// Rule is the position of the deciding rule, from 1; 0 is the default.
	Rule int

	// Shadow is the position of the first preceding shadow rule with another decision,
	// 0 if there is none.
	Shadow int
}

// NewRules validates the rules and sets the default: if none is given, deny if any rule
// allows something, otherwise allow.
func NewRules(rules []Rule, fallback Effect) (*Rules, error) {
	for i, rule := range rules {
		if rule.Effect != Allow && rule.Effect != Deny {
			return nil, fmt.Errorf("rule %d: %q is neither allow nor deny", i+1, rule.Effect)
		}
	}
	switch fallback {
	case Allow, Deny:
	case "":
		fallback = Allow
		for _, rule := range rules {
			if rule.Effect == Allow && !rule.Shadow {
				fallback = Deny
			}
		}
	default:
		return nil, fmt.Errorf("default %q is neither allow nor deny", fallback)
	}
	return &Rules{Rules: rules, Default: fallback}, nil
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
		if rule.Shadow && shadow != 0 || !known && rule.Effect == Allow && !rule.Unknown {
			continue
		}
		matched, matchErr := rule.Matches(req)
		if matchErr != nil {
			err = errors.Join(err, fmt.Errorf("rule %d (%s): %w", i+1, rule.Source, matchErr))
			matched = rule.Effect == Deny
		}
		if !matched {
			continue
		}
		if rule.Shadow {
			shadow = i + 1
			continue
		}
		effect, decision.Rule = rule.Effect, i+1
		break
	}
	decision.Allowed = effect == Allow
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
