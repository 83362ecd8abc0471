// Renewals at several replicas: nobody loses a session, and no used token is good
// at another one.

package issuer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func refresh(t *testing.T, i *Issuer, pair Pair) Pair {
	t.Helper()
	if _, err := i.CheckRefresh(t.Context(), pair.Refresh, site); err != nil {
		t.Fatalf("check: %v", err)
	}
	next, err := i.Refresh(t.Context(), pair.Refresh, site, time.Hour)
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	return next
}

func TestAClientMayRenewAtAnyReplica(t *testing.T) {
	for _, every := range []time.Duration{0, time.Second, time.Minute, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			store := &memory{}
			replicas := []*Issuer{replica(t, store), replica(t, store), replica(t, store)}
			pair := issued(t, replicas[0])
			for n := range 12 {
				time.Sleep(every)
				pair = refresh(t, replicas[n*n%7%3], pair)
			}
			time.Sleep(time.Minute)
			for n, i := range append(replicas, replica(t, store)) {
				if _, err := i.Check(t.Context(), pair.Access, site); err != nil {
					t.Errorf("every %v, replica %d: %v", every, n, err)
				}
			}
		})
	}
}

func TestNoReplaySucceedsAtAnotherReplicaOrAfterARestart(t *testing.T) {
	for _, after := range []time.Duration{Grace, time.Hour} {
		for _, where := range []string{"another", "a restarted one"} {
			synctest.Test(t, func(t *testing.T) {
				store := &memory{}
				here, there := replica(t, store), replica(t, store)
				first := issued(t, here)
				second := refresh(t, here, first)
				time.Sleep(after)
				if where != "another" {
					there = replica(t, store)
					synctest.Wait()
				}
				if _, err := there.Refresh(t.Context(), first.Refresh, site, time.Hour); !errors.Is(err, ErrReused) {
					t.Errorf("after %v at %s: %v", after, where, err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				for what, i := range map[string]*Issuer{"here": here, "there": there} {
					if _, err := i.Refresh(t.Context(), second.Refresh, site, time.Hour); !errors.Is(err, ErrEnded) {
						t.Errorf("after %v, %s: the family goes on: %v", after, what, err)
					}
				}
			})
		}
	}
}

func TestOneRefreshTokenAtTwoReplicasAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := replica(t, store), replica(t, store)
		first := issued(t, here)
		kept, lost := refresh(t, here, first), refresh(t, there, first)
		for range 3 { // the client goes on with one of the answers
			time.Sleep(5 * time.Minute)
			kept = refresh(t, there, kept)
			time.Sleep(5 * time.Minute)
			kept = refresh(t, here, kept)
		}
		if _, err := here.Refresh(t.Context(), lost.Refresh, site, time.Hour); !errors.Is(err, ErrReused) {
			t.Errorf("the other answer: %v", err)
		}
		if _, err := here.Check(t.Context(), kept.Access, site); !errors.Is(err, ErrEnded) {
			t.Errorf("two parties hold tokens of one login, and go on: %v", err)
		}
	})
}

func TestAThousandDoubleRefreshesAtTwoReplicasLoseNoSessionAndReplayNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		replicas := []*Issuer{replica(t, store), replica(t, store)}
		var wg sync.WaitGroup
		var used [1000]Pair
		for n := range used {
			wg.Go(func() {
				pair := issued(t, replicas[n%2])
				used[n] = pair
				for round := range 3 {
					token, answers := pair.Refresh, make(chan Pair, 2)
					for _, i := range replicas {
						go func() {
							next, err := i.Refresh(t.Context(), token, site, time.Hour)
							if err != nil {
								t.Errorf("round %d: %v", round, err)
							}
							answers <- next
						}()
					}
					pair = <-answers
					<-answers
					time.Sleep(5 * time.Minute)
				}
			})
		}
		wg.Wait()
		replays := 0
		for n, pair := range used {
			if _, err := replicas[n/2%2].Refresh(t.Context(), pair.Refresh, site, time.Hour); err == nil {
				replays++
			}
		}
		if replays > 0 {
			t.Errorf("%d replays", replays)
		}
	})
}

func TestALogoutBeforeTheEndOfAProcessIsKnownToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		first := New(NewKeys(store))
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			first.Watch(ctx, func(err error) { t.Error(err) })
		}()
		pair, other := issued(t, first), issued(t, first)
		sub, err := first.Check(t.Context(), pair.Access, site)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(watchEvery / 2)
		first.End(sub.Client, sub.Family)
		refresh(t, first, other)
		stop()
		<-done
		next := replica(t, store)
		synctest.Wait()
		if _, err := next.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrEnded) {
			t.Errorf("the token that was logged out: %v", err)
		}
		time.Sleep(Grace)
		if _, err := next.Refresh(t.Context(), other.Refresh, site, 0); !errors.Is(err, ErrReused) {
			t.Errorf("the refresh token that was used: %v", err)
		}
	})
}

// leftBehind has locks that a killed process has left, and that others keep fresh.
type leftBehind struct {
	memory
	mu   sync.Mutex
	held map[string]bool
}

func (l *leftBehind) Lock(ctx context.Context, name string) error {
	for {
		l.mu.Lock()
		free := !l.held[name]
		l.held[name] = true
		l.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *leftBehind) Unlock(_ context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, name)
	return nil
}

func TestALockThatWasLeftBehindStopsNeitherKeysNorRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leftBehind{held: map[string]bool{KeyPath: true, IndexPath: true}}
		i := New(NewKeys(store))
		began := time.Now()
		pair := issued(t, i)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the first token took %v", took)
		}
		began = time.Now()
		if err := i.Revoke(t.Context(), "grafana"); err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("a revocation: %v after %v", err, time.Since(began))
		}
		if _, err := i.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	})
}

// A clock that is put back does not prolong the time in which a used token gets the same pair.
func TestAClockThatIsPutBackProlongsNoGrace(t *testing.T) {
	i := New(NewKeys(&memory{}))
	used, pair := renewed(t, i, "grafana")
	if again, err := i.Refresh(t.Context(), used, site, time.Hour); err != nil || again != pair {
		t.Fatalf("at once: %v", err)
	}
	i.ledger.now = func() time.Time { return time.Now().Add(-time.Hour) }
	if _, err := i.Refresh(t.Context(), used, site, time.Hour); !errors.Is(err, ErrReused) {
		t.Errorf("with a clock that was put back: %v", err)
	}
	if _, err := i.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrEnded) {
		t.Errorf("the login of a token that was used again: %v", err)
	}
}
