// Acting as other users: whose token a request travels with, whatever the server
// does with sessions and answers.

package caddymodule

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// tenants are users of the server that others act as.
func tenants(n int) (options []veeamtest.Option, uids []string) {
	for i := range n {
		uid := fmt.Sprintf("5f0d0c9c-0000-4000-8000-%012d", i+1)
		uids = append(uids, uid)
		options = append(options, veeamtest.WithAccount(veeamtest.Account{Username: tenant(i), Password: "x", UID: uid}))
	}
	return options, uids
}

func tenant(i int) string { return fmt.Sprint("tenant-", i+1) }

// template is an account for users that come with requests, with its parent.
func (w *world) template() []*account.Account {
	return []*account.Account{
		{Name: "tenants", Grant: "as", Parent: "parent"},
		{Name: "parent", Username: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword},
	}
}

func TestTheUserMayComeWithEachRequest(t *testing.T) {
	t.Parallel()
	options, uids := tenants(3)
	inWorld(t, veeamtest.VSPC, options, func(w *world) {
		w.start(w.template()...)
		for range 3 {
			for i, uid := range uids {
				for _, spelling := range []string{uid, strings.ToUpper(uid)} {
					if got := w.ask(w.tr, http.MethodGet, "/echo", spelling); got.status != 200 || got.subject != tenant(i) {
						t.Errorf("%s: got %v of %q", spelling, got, got.subject)
					}
				}
			}
		}
		if got := w.ask(w.tr, http.MethodGet, "/echo", "parent"); got.subject != veeamtest.DefaultUser {
			t.Errorf("the parent by its name: %v of %q", got, got.subject)
		}
		if got := w.ask(w.tr, http.MethodGet, "/echo", "nobody"); got.String() != "403 no_account" || strings.Contains(got.body, "nobody") {
			t.Errorf("a name that is not configured: %v %s", got, got.body)
		}
		if got := w.get(); got.String() != "403 no_account" || !strings.Contains(got.body, "act_as must name a user") {
			t.Errorf("nobody named: %v %s", got, got.body)
		}
	})
}

func TestAParentServesManyWhateverTheServerDoesWithItsRefreshToken(t *testing.T) {
	t.Parallel()
	const n = 20
	options, uids := tenants(n)
	for name, tt := range map[string]struct {
		more []veeamtest.Option
		want int // token requests for all of them
	}{
		// The second use teaches that it is used up; from then on the parent logs in
		// for each.
		"used up":                      {nil, 2 + 3 + 2*(n-2)},
		"kept":                         {[]veeamtest.Option{veeamtest.WithAsKeepsRefresh()}, 1 + n},
		"used up, reuse ends sessions": {[]veeamtest.Option{veeamtest.WithRefreshReuseRevokesFamily()}, 2 + 3 + 2*(n-2)},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			inWorld(t, veeamtest.VSPC, append(tt.more, options...), func(w *world) {
				w.start(w.template()...)
				var wg sync.WaitGroup
				for i, uid := range uids {
					wg.Go(func() {
						if got := w.ask(w.tr, http.MethodGet, "/echo", uid); got.status != 200 || got.subject != tenant(i) {
							t.Errorf("%s: %v of %q %s", tenant(i), got, got.subject, got.body)
						}
					})
				}
				wg.Wait()
				if got := w.wire.grants(); got != tt.want {
					t.Errorf("%d token requests, want %d", got, tt.want)
				}
				for _, s := range w.State.Live() {
					if s.Held {
						t.Errorf("%s is on hold", s.Account)
					}
				}
			})
		})
	}
}

// Two sites with the same parent, or a site before and after a reload, have one session of it,
// whose refresh token is good for one use.
func TestSitesTakeTurnsWithTheSessionOfAParent(t *testing.T) {
	t.Parallel()
	const n = 20
	options, uids := tenants(n)
	inWorld(t, veeamtest.VSPC, append(options, veeamtest.WithLatency(50*time.Millisecond)), func(w *world) {
		sites := []*Transport{w.transport(&Transport{Accounts: w.template()}), w.transport(&Transport{Accounts: w.template()})}
		var wg sync.WaitGroup
		for i, uid := range uids {
			wg.Go(func() {
				if got := w.ask(sites[i%2], http.MethodGet, "/echo", uid); got.status != 200 || got.subject != tenant(i) {
					t.Errorf("%s: %v of %q %s", tenant(i), got, got.subject, got.body)
				}
			})
		}
		wg.Wait()
		for _, site := range sites {
			site.close()
		}
	})
}

func TestTheTroubleOfAParentIsNotTheChilds(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{Username: "tenant", Password: "x", UID: tenantUID})}, func(w *world) {
		w.start(&account.Account{Name: "child", Grant: "as", UserUID: tenantUID, Parent: "parent"},
			&account.Account{Name: "parent", Username: veeamtest.DefaultUser, Password: w.secret("secret", "wrong")})
		for range 30 {
			got := w.demand("503 credential_refused")
			if !strings.Contains(got.body, "The parent account has no session. The server refuses the credential") {
				t.Fatalf("the refusal does not say whose fault it is: %s", got.body)
			}
			w.rest(1500 * time.Millisecond)
		}
		if n := w.wire.grants(); n != 1 {
			t.Errorf("%d logins with a wrong password", n)
		}
		for _, s := range w.State.Live() {
			if s.Held != (s.Account == "parent") {
				t.Errorf("%s: on hold %t", s.Account, s.Held)
			}
		}
		w.secret("secret", veeamtest.DefaultPassword)
		w.rest(1500 * time.Millisecond)
		w.demand("200")
	})
}

func TestAUserWhoMayNotBeActedAsCostsNoLoginOfTheParentEachTime(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, nil, func(w *world) {
		w.start(w.template()...)
		for range 10 {
			if got := w.ask(w.tr, http.MethodGet, "/echo", tenantUID); got.String() != "503 credential_refused" {
				t.Errorf("got %v", got)
			}
		}
		if n := w.wire.grants(); n != 2 {
			t.Errorf("%d requests, want the parent's login and one try", n)
		}
	})
}

func TestASwappedAnswerIsRefusedAndCounted(t *testing.T) {
	t.Parallel()
	options, uids := tenants(1)
	inWorld(t, veeamtest.VSPC, append(options, veeamtest.WithSwappedUsers(1, 1)), func(w *world) {
		w.start(w.template()...)
		counter := w.metrics.Grants.WithLabelValues("vspc", "as", "wrong_user")
		got := w.ask(w.tr, http.MethodGet, "/echo", uids[0])
		if got.String() != "502 wrong_user" || !strings.Contains(got.body, "token of another user") {
			t.Errorf("got %v %s", got, got.body)
		}
		if n := testutil.ToFloat64(counter); n != 1 || w.server.Counters().Protected != 0 {
			t.Errorf("counted %v times; %d requests with it", n, w.server.Counters().Protected)
		}
	})
}

func TestNoRequestTravelsWithTheTokenOfAnotherTenant(t *testing.T) {
	t.Parallel()
	const n = 40
	options, uids := tenants(n)
	options = append(options, veeamtest.WithSwappedUsers(5, 1), veeamtest.WithAccessLifetime(time.Minute))
	inWorld(t, veeamtest.VSPC, options, func(w *world) {
		w.tr = w.transport(&Transport{Accounts: w.template(), MaxUsers: 10})
		var right, refused atomic.Int64
		var wg sync.WaitGroup
		for caller := range 8 {
			random := rand.New(rand.NewPCG(uint64(caller), 1))
			wg.Go(func() {
				for range 200 {
					time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
					i := random.IntN(n)
					switch got := w.ask(w.tr, http.MethodGet, "/echo", uids[i]); {
					case got.status == 200 && got.subject == tenant(i):
						right.Add(1)
					case got.status == 200:
						t.Errorf("%s travelled as %s", tenant(i), got.subject)
					case got.reason == "":
						t.Errorf("the server answered %v %s", got, got.body)
					default:
						refused.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if right.Load() < 500 || w.server.Counters().Swapped < 50 {
			t.Errorf("%d right, %d refused, %d swapped", right.Load(), refused.Load(), w.server.Counters().Swapped)
		}
		if kept := w.tr.server.Inspect(); kept.Users > 10 || kept.Sessions > 11 {
			t.Errorf("%+v", kept)
		}
	})
}

func TestReadOnlyIsAskedForWithEveryGrantAndAgainOnRefresh(t *testing.T) {
	t.Parallel()
	option, _ := assigned(t, "xml")
	common := []veeamtest.Option{
		option, veeamtest.WithAccount(veeamtest.Account{Username: "tenant", Password: "x", UID: tenantUID}),
		veeamtest.WithAccessLifetime(10 * time.Minute),
	}
	for _, drops := range []bool{false, true} {
		for _, grant := range []string{"password", "public_key", "as"} {
			t.Run(fmt.Sprintf("%s, refresh drops it %t", grant, drops), func(t *testing.T) {
				options := common
				if drops {
					options = append(slices.Clip(options), veeamtest.WithRefreshDropsReadOnly())
				}
				inWorld(t, veeamtest.VSPC, options, func(w *world) {
					accounts := []*account.Account{{Name: veeamtest.DefaultUser, Grant: grant, ReadOnly: true}}
					switch first := accounts[0]; grant {
					case "password":
						first.Password = w.secret("secret", veeamtest.DefaultPassword)
					case "public_key":
						first.Key = w.file("key", keyPEM(testKey()))
					case "as":
						first.UserUID, first.Parent = tenantUID, "parent"
						accounts = append(accounts, &account.Account{
							Name: "parent", Username: veeamtest.DefaultUser, Password: w.secret("secret", veeamtest.DefaultPassword),
						})
					}
					w.start(accounts...)
					for range 5 {
						w.demand("200")
						if got := w.ask(w.tr, http.MethodPost, "/execute", ""); got.status != http.StatusForbidden || got.reason != "" {
							t.Errorf("a read-only account wrote: %v", got)
						}
						w.rest(9*time.Minute + 55*time.Second) // by now it was renewed, or has ended
					}
					if w.server.Counters().Refreshes < 4 {
						t.Errorf("%d refreshes", w.server.Counters().Refreshes)
					}
				})
			})
		}
	}
}
