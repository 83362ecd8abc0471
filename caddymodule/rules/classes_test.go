package rules

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/operations"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// condition is one that holds for the classes of a set, and fails for others with an error.
type condition struct {
	holds, fails operation.Set
}

var errCondition = errors.New("cannot be evaluated")

func (c condition) MatchWithError(r *http.Request) (bool, error) {
	state, _ := operations.Of(r)
	if c.fails.Has(state.Class()) {
		return false, errCondition
	}
	return c.holds.Has(state.Class()), nil
}

func TestUnknownClass_IsWhateverWouldAllowLess(t *testing.T) {
	t.Parallel()
	every := operation.SetOf(append(operation.Classes(), operation.Unknown)...)
	for name, tc := range map[string]struct {
		condition
		deny, allow         bool
		approve             bool
		approveErr, allErrs error
	}{
		"holds for some": {condition{holds: operation.SetOf(operation.Secret)}, true, false, false, policy.ErrDoubt, nil},
		"holds for all":  {condition{holds: every}, true, true, true, nil, nil},
		"holds for none": {condition{}, false, false, false, nil, nil},
		"fails for one":  {condition{holds: every, fails: operation.SetOf(operation.Secret)}, false, false, false, errCondition, errCondition},
	} {
		r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/", http.NoBody), caddy.NewReplacer(), nil, new(caddyhttp.Server))
		state := &asked{operation.Unknown}
		caddyhttp.SetVar(r.Context(), operations.Var, state)
		for effect, want := range map[policy.Effect]bool{policy.Deny: tc.deny, policy.Allow: tc.allow, policy.Approve: tc.approve} {
			wantErr := tc.allErrs
			if effect == policy.Approve {
				wantErr = tc.approveErr
			}
			got, err := unknownClass{tc.condition, effect}.MatchWithError(r)
			if got != want || !errors.Is(err, wantErr) {
				t.Errorf("%s, %s: %v, %v", name, effect, got, err)
			}
			if state.class != operation.Unknown {
				t.Errorf("%s, %s: the class is %v afterwards", name, effect, state.class)
			}
		}
	}
}

// A preset matches by the class alone, and no request without a decision.
func TestClassMatcher_NeedsADecision(t *testing.T) {
	t.Parallel()
	classes, ok := operation.Preset("monitor")
	if !ok {
		t.Fatal("no preset")
	}
	r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/", http.NoBody), caddy.NewReplacer(), nil, new(caddyhttp.Server))
	if matched, err := classMatcher(classes).MatchWithError(r); matched || err != nil {
		t.Error(matched, err)
	}
	for class, want := range map[operation.Class]bool{operation.Read: true, operation.Secret: false, operation.Unknown: false} {
		caddyhttp.SetVar(r.Context(), operations.Var, &asked{class})
		if matched, err := classMatcher(classes).MatchWithError(r); matched != want || err != nil {
			t.Errorf("%v: %v, %v", class, matched, err)
		}
	}
}
