// When a session was renewed, and how old its refresh token is.

package tokencache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// A login is no renewal, and a renewal without a new refresh token leaves the old one as
// old as it is: also for a process that gets all of it from the store.
func TestTheTimesOfLoginAndRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := newMemory(), newKeys(t)
		first := start(store, k)
		began := time.Now()
		step := func(tok *Token, at time.Duration, login, renewed, refresh time.Duration) {
			t.Helper()
			time.Sleep(time.Until(began.Add(at)))
			tok.Access, tok.Lifetime = secret.New(at.String()), 10*time.Minute
			if _, err := first.Get(t.Context(), func(context.Context, *Token) (*Token, error) { return tok, nil }); err != nil {
				t.Fatal(err)
			}
			other := start(store, k)
			if _, err := other.Get(t.Context(), func(context.Context, *Token) (*Token, error) { return nil, errors.New("not at hand") }); err != nil {
				t.Fatal(err)
			}
			for i, state := range []State{first.State(), other.State()} {
				for name, is := range map[string][2]time.Time{
					"login": {state.Accepted, began.Add(login)}, "renewal": {state.Renewed, began.Add(renewed)}, "refresh token": {state.RefreshSince, began.Add(refresh)},
				} {
					if want := is[1]; is[0].IsZero() && want.Before(began) || is[0].Equal(want) {
						continue
					}
					t.Errorf("process %d after %v: %s at %v, not %v", i, at, name, is[0].Sub(began), is[1].Sub(began))
				}
			}
		}
		const none, kept, other = -time.Hour, "kept", "other"
		step(&Token{Login: true, Refresh: secret.New(kept)}, 0, 0, none, 0)
		step(&Token{Refresh: secret.New(kept)}, time.Hour, 0, time.Hour, 0)
		step(&Token{Refresh: secret.New(other)}, 2*time.Hour, 0, 2*time.Hour, 2*time.Hour)
		step(&Token{}, 3*time.Hour, 0, 3*time.Hour, none)
	})
}
