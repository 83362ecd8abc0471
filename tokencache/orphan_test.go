// What processes leave behind that have ended: leases and locks.

package tokencache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// kill starts a process and kills it in the middle of its login.
func kill(store *memory, k *sealed.Keyset, name string, ended func(string) bool) {
	const last = 1000
	dead := &dying{memory: store, at: last}
	p := startAs(name, ended, dead, k)
	go func() {
		_, _ = p.Get(context.Background(), func(ctx context.Context, _ *Token) (*Token, error) {
			dead.n.Store(last)
			<-ctx.Done()
			return nil, ctx.Err()
		})
	}()
	time.Sleep(time.Second)
}

func TestTheLeaseOfAProcessThatHasEndedIsTakenOverAtOnceButNotTwiceInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		ended := func(process string) bool { return process == "first" || process == "second" }
		next := func() (p *process, took time.Duration) {
			p, began := startAs("next", ended, store, k), time.Now()
			mustGet(t, p.Session, srv)
			return p, time.Since(began)
		}
		defer time.Sleep(10 * time.Minute) // what the killed ones have under way ends

		kill(store, k, "first", ended)
		p, took := next()
		if took > 100*time.Millisecond {
			t.Errorf("taken over after %v", took)
		}

		// A successful login in between resets the count.
		_, _ = p.Forget(context.Background())
		kill(store, k, "first", ended)
		kill(store, k, "second", ended)
		if _, took := next(); took < Lease/2 || took > 2*Lease {
			t.Errorf("the second in a row is taken over after %v", took)
		}
		if n := srv.calls.Load(); n != 2 {
			t.Errorf("%d logins", n)
		}
	})
}

func TestTheLeaseOfAProcessOfWhichNothingIsKnownIsLeftAlone(t *testing.T) {
	for _, name := range []string{"", "on another machine"} {
		synctest.Test(t, func(t *testing.T) {
			store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
			ended := func(process string) bool { return process == "" }
			defer time.Sleep(10 * time.Minute)
			kill(store, k, name, ended)
			p, began := startAs("", ended, store, k), time.Now()
			mustGet(t, p.Session, srv)
			if took := time.Since(began); took < Lease/2 || took > 2*Lease {
				t.Errorf("%q: taken over after %v", name, took)
			}
		})
	}
}

// In a folder, a process that had the lock within the last five seconds keeps
// fresh what another one leaves behind there.
func TestALockThatWasLeftBehindIsRemovedAlsoIfItIsKeptFresh(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			folder, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
			folder.fresh = fresh
			first := start(folder, k)
			mustGet(t, first.Session, srv)
			for key := range folder.snapshot() {
				if err := folder.Lock(context.Background(), key); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Hour)
			if !fresh {
				for key := range folder.locks {
					folder.locks[key] = time.Now()
				}
			}
			began := time.Now()
			tok := mustGet(t, start(folder, k).Session, srv)
			if took := time.Since(began); took > store.Abandoned+3*time.Second {
				t.Errorf("fresh %v: a login waits %v", fresh, took)
			}
			if other := mustGet(t, first.Session, srv); !other.Access.Equal(tok.Access) || srv.calls.Load() != 2 {
				t.Errorf("fresh %v: not shared, %d logins", fresh, srv.calls.Load())
			}
		})
	}
}
