// The matchers of rules that look at the class of the operation.

package rules

import (
	"net/http"

	"github.com/caddy-veeam/veeam-auth/caddymodule/operations"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// classMatcher matches operations of several classes.
type classMatcher operation.Set

// MatchWithError implements policy.Matcher.
func (m classMatcher) MatchWithError(r *http.Request) (bool, error) {
	state, known := operations.Of(r)
	return known && operation.Set(m).Has(state.Class()), nil
}

// unknownClass is the condition of a rule for operations that are not in the index.
// Their class is not known: it may be one that is denied, or one that is not allowed.
// Therefore the condition of a rule that denies holds if it holds for any class, and
// that of another rule if it holds for every class. An approve rule that holds for some
// classes only denies. Only operations of class unknown are asked about.
type unknownClass struct {
	policy.Matcher
	effect policy.Effect
}

// MatchWithError implements policy.Matcher.
func (m unknownClass) MatchWithError(r *http.Request) (bool, error) {
	matched, err := m.Matcher.MatchWithError(r)
	state, known := operations.Of(r)
	if err != nil || !known {
		return matched, err
	}
	defer state.SetClass(operation.Unknown)
	some, all := matched, matched
	for _, class := range operation.Classes() {
		state.SetClass(class)
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
