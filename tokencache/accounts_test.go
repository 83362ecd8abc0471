package tokencache

import (
	"context"
	"flag"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

var (
	manyAccounts = flag.Int("accounts", 1000, "accounts of the test with many")
	manyHours    = flag.Int("hours", 6, "how long they are used")
)

// Many accounts in one process, each asked for its token every minute: when they renew.
func TestManyAccountsRenewOutOfStep(t *testing.T) {
	n := *manyAccounts
	sessions := make([]*Session, n)
	synctest.Test(t, func(t *testing.T) {
		var grants atomic.Int64
		counted := func(ctx context.Context, prev *Token) (*Token, error) {
			grants.Add(1)
			return quarter(ctx, prev)
		}
		for i := range sessions {
			sessions[i] = NewSession(Options{})
		}
		const first = 15 // minutes over which the accounts are first used
		var peak, all, minutes int64
		for minute := range *manyHours * 60 {
			grants.Store(0)
			for i, s := range sessions {
				if i%(n/10+1) == 0 {
					time.Sleep(6 * time.Second)
				}
				if minute < first && i%first > minute {
					continue
				}
				tok, due := s.Current(time.Now())
				if tok == nil { // a new one, or one that was not asked in its last minute
					if _, err := s.Get(t.Context(), counted); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if !time.Now().Before(tok.Expires()) {
					t.Fatalf("account %d has an expired token in minute %d", i, minute)
				}
				if due {
					s.Renew(context.Background(), counted)
				}
			}
			synctest.Wait()
			if minute >= 2*first {
				peak, all, minutes = max(peak, grants.Load()), all+grants.Load(), minutes+1
			}
		}
		if running := runtime.NumGoroutine(); running > 20 {
			t.Errorf("%d goroutines for %d idle accounts", running, n)
		}
		mean := float64(all) / float64(minutes)
		t.Logf("%d accounts: %.1f renewals in a minute, %d at most", n, mean, peak)
		if float64(peak) > 2*mean {
			t.Error("they renew in step")
		}
	})
}

// quarter grants a token for a quarter of an hour.
func quarter(context.Context, *Token) (*Token, error) {
	return &Token{Access: secret.New("access"), Refresh: quarterly, Requested: time.Now(), Lifetime: 15 * time.Minute}, nil
}

var quarterly = secret.New("refresh")

func TestManyAccountsCostLittle(t *testing.T) {
	n := max(*manyAccounts, 10_000) // so many that nothing else counts
	sessions := make([]*Session, n)
	before := heap()
	for i := range sessions {
		sessions[i] = NewSession(Options{})
		if _, err := sessions[i].Get(t.Context(), quarter); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / int64(n)
	t.Logf("%d bytes for an idle account with its token", each)
	if each > 1500 { // what other tests leave is in it
		t.Error("that is more than 1.5 KB")
	}
	runtime.KeepAlive(sessions)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
