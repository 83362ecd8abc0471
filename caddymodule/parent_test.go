// The two sessions of an account that serves others.

package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const providersTenant = "7d1a3c52-0c1f-4d5e-8a54-3b1f0c9d2e11"

func inProvidersWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{
		veeamtest.WithAccount(veeamtest.Account{Username: "provider", Password: "provider-pass"}),
		veeamtest.WithAccount(veeamtest.Account{Username: "tenant", Password: "x", UID: providersTenant}),
		veeamtest.WithLatency(50 * time.Millisecond),
	}, test)
}

// providers are an account that serves another, and that other.
func (w *world) providers(password string) []*account.Account {
	return []*account.Account{
		{Name: "provider", Password: w.secret("secret", password)},
		{Name: "tenant", Grant: "as", Parent: "provider", UserUID: providersTenant},
	}
}

// both asks for a resource as each of the two, of a process for each, and waits a
// second.
func (w *world) both(provider, tenant *Transport, want int) {
	w.Helper()
	var wg sync.WaitGroup
	for account, tr := range map[string]*Transport{"provider": provider, "tenant": tenant} {
		ask := func() {
			if got := w.ask(tr, http.MethodGet, "/echo", account); got.status != want {
				w.Errorf("%s: %v %s", account, got, got.body)
			}
		}
		if provider == tenant {
			wg.Go(ask)
		} else {
			ask()
		}
	}
	wg.Wait()
	w.rest(time.Second)
}

func TestAWrongPasswordOfAParentIsSentForOneOfItsSessionsOnly(t *testing.T) {
	t.Parallel()
	inProvidersWorld(t, func(w *world) {
		tr := w.start(w.providers("wrong")...)
		for began := time.Now(); time.Since(began) < 5*time.Minute; {
			w.both(tr, tr, http.StatusServiceUnavailable)
		}
		if c := w.server.Counters(); c.Refused > 3 {
			t.Errorf("sent %d times in five minutes", c.Refused)
		}
		w.secret("secret", "provider-pass")
		w.rest(3 * time.Second)
		w.both(tr, tr, http.StatusOK)
	})
}

func TestProcessesSendAWrongPasswordOfAParentForOneOfItsSessionsOnly(t *testing.T) {
	t.Parallel()
	for name, processes := range map[string]int{"one": 1, "one for each session": 2} {
		t.Run(name, func(t *testing.T) {
			_, key := newKeyFile(t)
			inProvidersWorld(t, func(w *world) {
				var storage memorystore.Storage
				var all []*Transport
				for i := range processes {
					name := fmt.Sprint(t.Name(), i)
					memoryStorages.Store(name, storage.Process())
					all = append(all, w.transport(&Transport{
						Accounts: w.providers("wrong"),
						Cache:    &records.Cache{EncryptionKey: key, StorageRaw: []byte(`{"module": "veeam_auth_test", "name": "` + name + `"}`)},
					}))
				}
				defer func() {
					for _, tr := range all {
						tr.close()
					}
				}()
				began, early := time.Now(), w.server.Counters().Refused
				for time.Since(began) < 2*time.Hour {
					w.both(all[0], all[processes-1], http.StatusServiceUnavailable)
					w.rest(4 * time.Second)
					if time.Since(began) < 10*time.Minute {
						early = w.server.Counters().Refused
					} else {
						w.rest(26 * time.Second)
					}
				}
				if c := w.server.Counters(); early > 2 || c.Refused > 6 {
					t.Errorf("sent %d times in ten minutes, %d in two hours", early, c.Refused)
				}
				w.secret("secret", "provider-pass")
				w.rest(3 * time.Second)
				w.both(all[0], all[processes-1], http.StatusOK)
			})
		})
	}
}

func TestTheHoldOfAParentEndsWithALoginOfItsOtherSession(t *testing.T) {
	t.Parallel()
	inProvidersWorld(t, func(w *world) {
		tr := w.start(w.providers("to come")...)
		for range 250 { // the holds of both sessions differ by now
			w.both(tr, tr, http.StatusServiceUnavailable)
		}
		w.server.SetPassword("provider", "to come")
		for w.ask(tr, http.MethodGet, "/echo", "provider").status != http.StatusOK {
			w.rest(time.Second)
		}
		w.rest(time.Second)
		w.both(tr, tr, http.StatusOK)
	})
}

func TestAnOperatorHasAParentTriedAtOnceAndOnce(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared ", shared), func(t *testing.T) {
			_, key := newKeyFile(t)
			inProvidersWorld(t, func(w *world) {
				tr := &Transport{Accounts: w.providers("to come")}
				if shared {
					var storage memorystore.Storage
					memoryStorages.Store(t.Name(), storage.Process())
					tr.Cache = &records.Cache{EncryptionKey: key, StorageRaw: []byte(`{"module": "veeam_auth_test", "name": "` + t.Name() + `"}`)}
				}
				w.tr = w.transport(tr)
				w.both(tr, tr, http.StatusServiceUnavailable)
				login := func() {
					if _, err := w.operate(w.processState, "login", map[string]any{"account": "provider", "force": true}); err != nil {
						t.Error(err)
					}
				}
				login()
				if c := w.server.Counters(); c.Refused != 2 {
					t.Errorf("sent %d times", c.Refused)
				}
				w.server.SetPassword("provider", "to come")
				login()
				w.both(tr, tr, http.StatusOK)
			})
		})
	}
}

// An act on one row of the list is for that session, not for the other one of the account.
func TestAnActIsForTheSessionOfItsPurpose(t *testing.T) {
	t.Parallel()
	inProvidersWorld(t, func(w *world) {
		tr := w.start(w.providers("provider-pass")...)
		w.both(tr, tr, http.StatusOK)
		for _, c := range []struct {
			purpose any
			want    []string
		}{{nil, []string{"", "parent"}}, {"", []string{""}}, {"parent", []string{"parent"}}} {
			body := map[string]any{"account": "provider"}
			if c.purpose != nil {
				body["purpose"] = c.purpose
			}
			before := w.server.Counters().Logins
			states, err := w.operate(w.processState, "login", body)
			var got []string
			for _, s := range states {
				if s.Error != "" {
					w.Errorf("%+v", s)
				}
				got = append(got, s.Purpose)
			}
			slices.Sort(got)
			if err != nil || !slices.Equal(got, c.want) || w.server.Counters().Logins-before != int64(len(c.want)) {
				w.Errorf("%v: %q, %d logins, %v", c.purpose, got, w.server.Counters().Logins-before, err)
			}
			w.rest(time.Second)
		}
		if _, err := w.operate(w.processState, "login", map[string]any{"account": "provider", "purpose": "nobody"}); err == nil || !strings.Contains(err.Error(), "no session at a matching server") {
			w.Errorf("%v", err)
		}
	})
}
