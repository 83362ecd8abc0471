// A token endpoint that hangs: whom that concerns, for how long, and what is sent
// meanwhile. And tokens that end early where a login is dear.

package caddymodule

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// hangs has token requests of one user, or of all, hang until the function that is
// returned is called.
func (w *world) hangs() (back func()) {
	gone := make(chan struct{})
	w.wire.intercept(func(req *http.Request) (*http.Response, error) {
		if !isGrant(req) {
			return nil, nil
		}
		select {
		case <-gone:
			return nil, nil
		default:
		}
		<-req.Context().Done() // what the server has begun it does not end
		return nil, req.Context().Err()
	})
	return func() { close(gone) }
}

func TestAHangingTokenEndpointHoldsNobodyForLongAndIsBackAtOnce(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		for name, known := range map[string]bool{"accepted before": true, "never seen": false} {
			t.Run(string(profile)+" "+name, func(t *testing.T) {
				inWorld(t, profile, []veeamtest.Option{veeamtest.WithAccessLifetime(30 * time.Minute)}, func(w *world) {
					other := w.transport(&Transport{Accounts: []*account.Account{{Name: "other", Username: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}}})
					defer other.close()
					if got := w.ask(other, http.MethodGet, "/echo", ""); got.status != 200 {
						t.Fatal(got)
					}
					w.start(unwatched())
					if known {
						w.demand("200")
						w.server.RevokeAll()
						w.ask(other, http.MethodGet, "/echo", "")
						w.rest(10 * time.Minute)
					}
					back, began := w.hangs(), time.Now()
					sent := w.wire.passwords()
					var slowest, first time.Duration
					var mu sync.Mutex
					var wg sync.WaitGroup
					returned := make(chan struct{})
					for range 3 {
						wg.Go(func() {
							for time.Since(began) < 3*time.Minute {
								asked := time.Now()
								got := w.get()
								mu.Lock()
								slowest = max(slowest, time.Since(asked))
								if got.status == 200 && first == 0 {
									first = time.Since(began)
								}
								mu.Unlock()
								time.Sleep(time.Second)
							}
						})
					}
					wg.Go(func() {
						defer close(returned)
						for time.Since(began) < 2*time.Minute {
							if got := w.ask(other, http.MethodGet, "/echo", ""); got.status != 200 {
								t.Errorf("another account: %v", got)
							}
							time.Sleep(time.Second)
						}
						if n := w.wire.passwords() - sent; n > 1 {
							t.Errorf("the password was sent %d times", n)
						}
						back()
					})
					wg.Wait()
					if slowest > 25*time.Second || first < 2*time.Minute || first > 2*time.Minute+3*time.Second {
						t.Errorf("callers waited %v, the first success came after %v", slowest, first)
					}
					t.Logf("callers waited at most %v, first success %v after the return", slowest, first-2*time.Minute)
				})
			})
		}
	}
}

// passwords counts the token requests with a password.
func (n *wire) passwords() (count int) {
	for _, c := range n.calls() {
		if c.password {
			count++
		}
	}
	return count
}

func TestATokenThatEndsEarlyIsRefreshedWhereALoginIsDear(t *testing.T) {
	t.Parallel()
	for i, profile := range withCodes {
		t.Run(string(profile), func(t *testing.T) {
			inWorld(t, profile, nil, func(w *world) {
				w.rest(time.Duration(i) * time.Hour) // no code is used twice in a process
				w.start(&account.Account{Name: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: veeamtest.DefaultTOTPSecret})
				w.demand("200")
				w.rest(2 * time.Minute)
				for early := range 3 {
					before, began := w.server.Counters(), time.Now()
					if early == 2 {
						w.server.RevokeAll() // the refresh token, too
					} else {
						w.server.RevokeAccess()
					}
					w.demand("200")
					after := w.server.Counters()
					refreshed, codes := after.Refreshes-before.Refreshes, after.MFAGrants-before.MFAGrants
					switch {
					case early == 0 && (refreshed != 1 || codes != 0 || time.Since(began) > time.Second):
						t.Errorf("%d renewals, %d codes, after %v", refreshed, codes, time.Since(began))
					case early > 0 && codes != 1:
						t.Errorf("no login although the session has ended again: %+v", after)
					}
					w.rest(time.Minute)
				}
			})
		})
	}
}

func TestARefreshTokenOfAnAccountThatHasNothingElseIsTriedUntilItIsRefused(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		token := w.session().Refresh.Reveal()
		w.start(&account.Account{Name: "by", Grant: "refresh_token", Username: veeamtest.DefaultUser, Password: token})
		w.demand("200")
		for range 5 {
			w.rest(2 * time.Minute)
			w.server.RevokeAccess()
			w.demand("200")
		}
		w.server.RevokeAll()
		w.rest(2 * time.Minute)
		if got := w.get(); got.status != http.StatusServiceUnavailable || strings.Contains(got.body, token) {
			t.Errorf("after the end of the session: %v", got)
		}
	})
}
