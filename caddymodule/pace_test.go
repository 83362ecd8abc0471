package caddymodule

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestATransportTakesNoPaceWithoutLimits(t *testing.T) {
	t.Parallel()
	tr := &Transport{Accounts: []*account.Account{{Name: "a", Password: "b"}}, HTTPTransport: new(reverseproxy.HTTPTransport), InsecureHTTP: true, Pace: &ratelimit.Pace{}}
	if err := tr.check(); err == nil || !strings.Contains(err.Error(), "pace requires a limit") {
		t.Error(err)
	}
}

const crowd = 6

// inCrowd runs a test with a server that has six users, of whom the even ones need
// a verification code, and limits.
func inCrowd(t *testing.T, perSecond, perMinute int, test func(w *world, accounts []*account.Account)) {
	t.Helper()
	options := []veeamtest.Option{veeamtest.WithTokenLimits(perSecond, perMinute, 0), veeamtest.WithLatency(150 * time.Millisecond)}
	var accounts []*account.Account
	dir := t.TempDir()
	for i := range crowd {
		user := veeamtest.Account{Username: fmt.Sprint("user-", i), Password: "right"}
		svc := &account.Account{Name: user.Username, Password: "{file." + filepath.Join(dir, "password") + "}"}
		if i%2 == 0 {
			// Of its own in each test: the process remembers which codes were used.
			sum := sha256.Sum256(fmt.Append(nil, t.Name(), i, perMinute, dir))
			user.TOTPSecret = base32.StdEncoding.EncodeToString(sum[:20])
			svc.TOTPSecret = user.TOTPSecret
		}
		options = append(options, veeamtest.WithAccount(user))
		accounts = append(accounts, svc)
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("right"), 0o600); err != nil {
		t.Fatal(err)
	}
	inWorld(t, veeamtest.VSPC, options, func(w *world) { test(w, accounts) })
}

// logInAll has a client of each account ask through each transport until it is
// served, as a client does that obeys Retry-After.
func (w *world) logInAll(accounts []*account.Account, transports ...*Transport) {
	var wg sync.WaitGroup
	for _, tr := range transports {
		for _, a := range accounts {
			wg.Go(func() {
				for {
					got := w.ask(tr, http.MethodGet, "/echo", a.Name)
					if got.status == http.StatusOK {
						return
					}
					wait, err := strconv.Atoi(got.header.Get("Retry-After"))
					if got.status != http.StatusTooManyRequests || err != nil {
						w.Errorf("%s: %v, Retry-After %q", a.Name, got, got.header.Get("Retry-After"))
						return
					}
					time.Sleep(time.Duration(wait) * time.Second)
				}
			})
		}
	}
	wg.Wait()
}

func TestWithThePaceOfTheServerNoTokenRequestIsOneTooMany(t *testing.T) {
	t.Parallel()
	inCrowd(t, 1, 5, func(w *world, accounts []*account.Account) {
		w.tr = w.transport(&Transport{Accounts: accounts, Pace: &ratelimit.Pace{PerSecond: 1, PerMinute: 5}})
		began := time.Now()
		w.logInAll(accounts, w.tr)
		c := w.server.Counters()
		if c.Throttled != 0 || c.Logins != crowd || c.TokenRequests != crowd+crowd/2 {
			t.Errorf("%d of %d token requests were answered with 429, %d logins", c.Throttled, c.TokenRequests, c.Logins)
		}
		if took := time.Since(began); took > 4*time.Minute {
			t.Errorf("took %v", took)
		}
		if testutil.ToFloat64(w.metrics.Paced.WithLabelValues("vspc", metrics.PaceDelayed)) == 0 ||
			testutil.ToFloat64(w.metrics.Paced.WithLabelValues("vspc", metrics.PaceRefused)) == 0 {
			t.Error("not counted")
		}
		for _, want := range []string{"Token request of user 'user-", "waits 1.", "(pace 1/s 5/m)", "the pace of token requests"} {
			if !strings.Contains(w.said(), want) {
				t.Errorf("the log does not say %q: %s", want, w.said())
			}
		}
		for range 100 { // who has a token waits for nothing
			if began := time.Now(); w.ask(w.tr, http.MethodGet, "/echo", "user-0").status != http.StatusOK || time.Since(began) > 0 {
				t.Fatalf("a request with a token took %v", time.Since(began))
			}
		}
	})
}

func TestWithoutItTheServerRefusesSome(t *testing.T) {
	t.Parallel()
	inCrowd(t, 1, 5, func(w *world, accounts []*account.Account) {
		w.tr = w.transport(&Transport{Accounts: accounts, Pace: &ratelimit.Pace{Off: true}})
		w.logInAll(accounts, w.tr)
		if c := w.server.Counters(); c.Throttled == 0 || c.Logins != crowd {
			t.Errorf("%d 429s, %d logins", c.Throttled, c.Logins)
		}
	})
}

// Two replicas have a cache in one folder and keys of their own files.
func TestReplicasKeepThePaceTogether(t *testing.T) {
	t.Parallel()
	inCrowd(t, 1, 5, func(w *world, accounts []*account.Account) {
		path, one := newKeyFile(t)
		key, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		two := w.secret("key", string(key))
		dir := t.TempDir()
		var replicas []*Transport
		for i, key := range []string{one, two} {
			replicas = append(replicas, w.transport(&Transport{
				Accounts: accounts[i*crowd/2 : (i+1)*crowd/2], Pace: &ratelimit.Pace{PerSecond: 1, PerMinute: 5},
				Cache: &records.Cache{EncryptionKey: key, StorageRaw: fileStorage(dir)},
			}))
		}
		var wg sync.WaitGroup
		for i, tr := range replicas {
			wg.Go(func() { w.logInAll(accounts[i*crowd/2:(i+1)*crowd/2], tr) })
		}
		wg.Wait()
		if c := w.server.Counters(); c.Throttled != 0 || c.Logins != crowd {
			t.Errorf("%d 429s, %d logins", c.Throttled, c.Logins)
		}
		replicas[0].close()
		replicas[1].close()
		w.rest(10 * time.Second) // the storage's locks end by themselves
	})
}

func TestA429HoldsTheLoginsOfTheOtherAccountsToo(t *testing.T) {
	t.Parallel()
	for _, pace := range []*ratelimit.Pace{nil, {Off: true}} {
		inCrowd(t, 0, 0, func(w *world, accounts []*account.Account) {
			w.tr = w.transport(&Transport{Accounts: accounts, Pace: pace})
			w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 429, RetryAfter: 100 * time.Second})
			w.demand("429 throttled")
			w.server.ClearFault()
			w.rest(5 * time.Second)
			for _, a := range accounts {
				got := w.ask(w.tr, http.MethodGet, "/echo", a.Name)
				retry, _ := strconv.Atoi(got.header.Get("Retry-After"))
				if got.String() != "429 throttled" || retry < 90 || retry > 100 {
					t.Errorf("%s: %v, Retry-After %d", a.Name, got, retry)
				}
			}
			// A new configuration knows it too.
			next := w.transport(&Transport{Accounts: []*account.Account{{Name: "user-1", Password: "right", Username: "user-1"}}, Pace: pace})
			w.tr.close()
			w.tr = next
			if got := w.get(); got.String() != "429 throttled" || w.wire.grants() != 1 {
				t.Errorf("after a reload: %v, %d token requests", got, w.wire.grants())
			}
			w.rest(96 * time.Second)
			w.demand("200")
		})
	}
}

func TestAReloadKeepsThePace(t *testing.T) {
	t.Parallel()
	inCrowd(t, 0, 5, func(w *world, accounts []*account.Account) {
		for i := range crowd {
			next := w.transport(&Transport{Accounts: accounts[i : i+1], Pace: &ratelimit.Pace{PerMinute: 5}})
			if w.tr != nil {
				w.tr.close()
			}
			w.tr = next
			w.logInAll(accounts[i:i+1], w.tr)
		}
		if c := w.server.Counters(); c.Throttled != 0 || c.Logins != crowd {
			t.Errorf("%d 429s, %d logins", c.Throttled, c.Logins)
		}
	})
}

// Fifty accounts at three processes that share a cache, all cold, at a server that
// enforces its quota: the pace of the product is the quota, and no request exceeds it.
func TestThreeReplicasWithFiftyColdAccountsKeepToTheQuotaOfVB365(t *testing.T) {
	t.Parallel()
	const many = 50
	options := []veeamtest.Option{veeamtest.WithTokenLimits(1, 5, 1500), veeamtest.WithLatency(150 * time.Millisecond)}
	var accounts []*account.Account
	for i := range many {
		user := veeamtest.Account{Username: fmt.Sprint("user-", i), Password: "right"}
		options = append(options, veeamtest.WithAccount(user))
		accounts = append(accounts, &account.Account{Name: user.Username, Password: user.Password})
	}
	dir := t.TempDir()
	path, _ := newKeyFile(t)
	inWorld(t, veeamtest.VB365, options, func(w *world) {
		w.unpaced = false
		began := time.Now()
		var replicas []*Transport
		for range 3 {
			own := make([]*account.Account, many)
			for i, a := range accounts {
				own[i] = &account.Account{Name: a.Name, Password: a.Password}
			}
			w.processState = newProcess()
			replicas = append(replicas, w.transport(&Transport{Accounts: own, Cache: &records.Cache{EncryptionKey: "{file." + path + "}", StorageRaw: fileStorage(dir)}}))
		}
		w.logInAll(accounts, replicas...)
		c := w.server.Counters()
		if c.Throttled != 0 || c.Logins != many || c.TokenRequests != many || c.Refused != 0 {
			t.Errorf("%d of %d token requests were answered with 429; %d logins", c.Throttled, c.TokenRequests, c.Logins)
		}
		t.Logf("3 replicas, %d accounts: %d token requests, %d of them answered with 429, in %v", many, c.TokenRequests, c.Throttled, time.Since(began).Round(time.Second))
		for _, tr := range replicas {
			tr.close()
		}
		w.rest(10 * time.Second) // the storage's locks end by themselves
	})
}
