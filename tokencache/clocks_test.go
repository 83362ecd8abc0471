// Clocks that are wrong: of this process, and of those it shares a store with.

package tokencache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

// rewrite changes the record of the session as a process with another clock would
// have written it.
func rewrite(t *testing.T, p *process, change func(*record)) {
	t.Helper()
	at, err := bind(p.shared, identity)
	if err != nil {
		t.Fatal(err)
	}
	err = sealed.Update(context.Background(), p.shared, at, nil, func(rec *record) *record {
		change(rec)
		return rec
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAHoldOfAProcessWhoseClockIsAheadEndsAllTheSame(t *testing.T) {
	for name, b := range map[string]struct {
		err  error
		most time.Duration
	}{
		"hold":  {refusal{}, 36 * time.Minute},
		"pause": {throttled(time.Minute), time.Hour + time.Minute}, // its own, and then what lies there
	} {
		for _, restarts := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
				p := start(store, k)
				srv.fail(b.err)
				_, _ = p.Get(context.Background(), srv.grant)
				rewrite(t, p, func(rec *record) { rec.Block.Until = rec.Block.Until.Add(48 * time.Hour) })
				srv.fail(nil)
				if restarts {
					p = start(store, k)
				}
				began := time.Now()
				for time.Since(began) < 3*time.Hour {
					if _, err := p.Get(context.Background(), srv.grant); err == nil {
						break
					}
					time.Sleep(time.Second)
				}
				if took := time.Since(began); took > b.most+5*time.Second {
					t.Errorf("%s, restarted %t: no login for %v", name, restarts, took)
				}
				if again := start(store, k); again.State().Status != StatusNone {
					t.Error("a new process is not new")
				} else if _, err := again.Get(context.Background(), srv.grant); err != nil {
					t.Errorf("%s: still held for a new process: %v", name, err)
				}
			})
		}
	}
}

func TestAHoldIsLookedAtAfterTheClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: time.Hour}
		a, b := start(store, k), start(store, k)
		srv.fail(refusal{})
		_, _ = a.Get(context.Background(), srv.grant)
		_, _ = b.Get(context.Background(), srv.grant)
		b.looked.Store(b.looked.Load() + int64(time.Hour)) // as it is with a clock that was set back
		srv.fail(nil)
		if err := a.Lift(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		mustGet(t, b.Session, srv)
	})
}
