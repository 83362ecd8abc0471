// Rules: in order, the first that matches decides.

package policy

import (
	"errors"
	"fmt"
	"net/http"
)

// Matcher is the condition of a rule. Caddy's sets of request matchers are
// matchers.
type Matcher interface {
	// MatchWithError reports whether the request fulfils the condition. An
	// error counts as a match of a rule that denies and as none of one that
	// allows.
	MatchWithError(r *http.Request) (bool, error)
}

// Effect is what a rule does.
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

	// Shadow rules are decided and reported, and not obeyed.
	Shadow bool

	// Unknown rules apply to callers who are not known, too. Those who are not
	// known pass by no other rule, and never by default.
	Unknown bool

	// Source is where the rule is written, such as Caddyfile:12.
	Source string
}

// Rules are an ordered list of rules.
type Rules struct {
	Rules []Rule

	// Default decides where no rule matches.
	Default Effect
}

// Decision is the outcome for one request.
type Decision struct {
	Allowed bool

	// Rule is the position of the rule that decided, from 1; 0 is the default.
	Rule int

	// Shadow is the position of the first shadow rule before it that would have
	// decided otherwise, 0 if there is none.
	Shadow int
}

// NewRules checks the rules and fills in the default: without a word about it,
// what no rule allows is denied as soon as there is a rule that allows something.
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

// Decide goes through the rules for a request of a caller who is known or not.
// The error joins those of matchers that failed
// on the way; the decision stands all the same.
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

// Matches reports whether the condition of the rule is fulfilled.
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
