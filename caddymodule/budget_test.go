// The lock-out budget, seen from the server: how often a wrong password is sent
// without a cache, whatever is restarted, and what an operator is told.

package caddymodule

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// loginTimes notes when token requests with a password reach the server.
type loginTimes struct {
	to http.RoundTripper

	mu    sync.Mutex
	times []time.Time
}

func (l *loginTimes) RoundTrip(req *http.Request) (*http.Response, error) {
	if isGrant(req) {
		l.mu.Lock()
		l.times = append(l.times, time.Now())
		l.mu.Unlock()
	}
	return l.to.RoundTrip(req)
}

// most is the largest number of times within any window.
func most(times []time.Time, window time.Duration) (most int) {
	for i, first := range times {
		n := 0
		for _, at := range times[i:] {
			if at.Sub(first) < window {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func TestBudget_AWrongPasswordForTwoHoursWithFiveRestarts(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		product := profile.Product()
		tries := 3
		if product == "vbr" || product == "em" { // whose appliance locks a user after three
			tries = 2
		}
		t.Run(product, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var storage memorystore.Storage
				server := veeamtest.New(profile, veeamtest.WithLatency(50*time.Millisecond), veeamtest.WithLockout(tries+1, 15*time.Minute))
				to := &loginTimes{to: server.Transport()}
				var current atomic.Pointer[Transport]
				start := func() {
					// A process of its own.
					current.Store(provisionInMemory(t, &Transport{
						Product:  product,
						Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: "wrong"}},
						storage:  inMemory(&storage),
					}, to))
				}
				start()
				for minute := range 120 {
					if minute%20 == 19 && minute < 110 { // five times
						current.Load().close()
						start()
					}
					for range 6 {
						res, err := current.Load().RoundTrip(proxied(context.Background(), &requestState{route: veeam.RouteProtected}))
						if err != nil {
							t.Fatal(err)
						}
						if res.StatusCode < 500 || res.Header.Get("Retry-After") == "" {
							t.Errorf("status %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
						}
						_ = res.Body.Close()
						time.Sleep(10 * time.Second)
					}
				}
				current.Load().close()
				to.mu.Lock()
				times := to.times
				to.mu.Unlock()
				if n := most(times, 15*time.Minute); n != tries {
					t.Errorf("%d tries in 15 minutes, the budget is %d", n, tries)
				}
				t.Logf("%s: %d tries in 2 hours, at most %d in 15 minutes", product, len(times), most(times, 15*time.Minute))
			})
		})
	}
}

func TestBudget_OfAUserIsSharedByItsAccountsSecretsAndParents(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, nil, func(w *world) {
		wrong := w.secret("wrong", "wrong")
		w.start(
			&account.Account{Name: "one", Username: veeamtest.DefaultUser, Password: wrong},
			&account.Account{Name: "two", Username: strings.ToUpper(veeamtest.DefaultUser), Password: wrong, NextPassword: w.secret("next", "wrong, too")},
			&account.Account{Name: "three", Grant: "as", Parent: "one", UserUID: tenantUID},
		)
		for range 60 {
			for _, name := range []string{"one", "two", "three"} {
				w.ask(w.tr, http.MethodGet, "/echo", name)
			}
			w.rest(10 * time.Second)
		}
		if n := w.wire.grants(); n < 3 || n > 4 { // a second secret has a try of its own
			t.Errorf("%d logins in ten minutes", n)
		}
	})
}

func TestBudget_AHeldAccountIsExplained(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(unwatched())
		w.demand("200")
		accepted := time.Now()
		w.server.SetPassword(veeamtest.DefaultUser, "changed at the server")
		w.server.RevokeAll()
		w.rest(16 * time.Minute)
		w.demand("503 credential_refused")
		got := w.demand("503 credential_refused")
		for _, want := range []string{
			"accepted this secret at " + accepted.Format(time.DateTime), "locked", "1 of 2 tries left until ",
			"caddy veeam-auth sessions login <account> --force",
		} {
			if !strings.Contains(got.body, want) || !strings.Contains(w.said(), want) {
				t.Errorf("%q is missing in %s\nor in %s", want, got.body, w.said())
			}
		}
		w.rest(2 * time.Minute)
		w.demand("503 credential_refused") // the second try
		blocked := w.tr.server.InUse("").State()
		if blocked.Budget.Left != 0 || blocked.HeldFor < 10*time.Minute || blocked.Accepted.IsZero() || blocked.Succeeded.IsZero() {
			t.Errorf("%+v", blocked)
		}
	})
}

// The tries were used up by other accounts of the same user: nothing is known against this one.
func TestBudget_AnAccountIsNotBlamedForTheTriesOfOthers(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		accounts := []*account.Account{unwatched()}
		for _, name := range []string{"first", "second", "third"} {
			accounts = append(accounts, &account.Account{Name: name, Username: veeamtest.DefaultUser, Password: "wrong " + name})
		}
		w.start(accounts...)
		w.demand("200")
		w.rest(time.Minute)
		for _, wrong := range accounts[1:] {
			w.ask(w.tr, http.MethodGet, "/echo", wrong.Name)
		}
		w.server.RevokeAll()
		w.demandAny()
		got := w.get()
		if got.reason != veeam.ReasonLockedOutBudget || strings.Contains(got.body, "accepted this secret") || !strings.Contains(got.body, "0 of 2 tries left until ") {
			t.Errorf("%+v", got)
		}
	})
}

func TestBudget_AStorageThatHangsDelaysALoginByTwoSecondsAtMost(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.tr = provisionInMemory(w, &Transport{Accounts: []*account.Account{unwatched()}, storage: deadStorage{}}, w.wire)
		w.tr.server.Begin(nil, false, journal.Journal{}) // open sessions are to be recorded, too
		began := time.Now()
		w.demand("200")
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		w.rest(time.Minute)
	})
}

// deadStorage answers nothing.
type deadStorage struct{ unusedStorage }

func (deadStorage) hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (h deadStorage) Lock(ctx context.Context, _ string) error            { return h.hang(ctx) }
func (h deadStorage) Unlock(ctx context.Context, _ string) error          { return h.hang(ctx) }
func (h deadStorage) Store(ctx context.Context, _ string, _ []byte) error { return h.hang(ctx) }
func (h deadStorage) Delete(ctx context.Context, _ string) error          { return h.hang(ctx) }
func (h deadStorage) Load(ctx context.Context, _ string) ([]byte, error)  { return nil, h.hang(ctx) }

func (h deadStorage) List(ctx context.Context, _ string, _ bool) ([]string, error) {
	return nil, h.hang(ctx)
}
