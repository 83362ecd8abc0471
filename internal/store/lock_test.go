// Locks that are waited for, and locks that nobody gives back.

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

const name = Folder + "/folder/record"

// left is a storage with a lock that a killed process has left behind, and who was recorded
// as its holder.
func left(t *testing.T, recorded bool) (*memorystore.Storage, *memorystore.Process) {
	t.Helper()
	s := &memorystore.Storage{Fresh: true}
	killed := s.Process()
	if recorded {
		if _, err := Lock(t.Context(), killed, name, nil); err != nil {
			t.Fatal(err)
		}
	} else if err := killed.Lock(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	killed.Kill()
	return s, s.Process()
}

func TestALockThatWasLeftBehindIsRemoved(t *testing.T) {
	for _, recorded := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, p := left(t, recorded)
			began := time.Now()
			held, err := Lock(t.Context(), p, name, nil)
			if took := time.Since(began); held == nil || err != nil || took < Abandoned || took > Abandoned+settle+2*time.Second {
				t.Fatalf("%v after %v", err, took)
			}
			short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if _, err := Lock(short, s.Process(), name, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the lock is nobody's: %v", err)
			}
			held.Unlock(t.Context())
			began = time.Now()
			if held, err = Lock(t.Context(), s.Process(), name, nil); err != nil || time.Since(began) > 0 {
				t.Fatalf("%v after %v", err, time.Since(began))
			}
			held.Unlock(t.Context())
			if h, err := loadHolder(t.Context(), p, name); err != nil || h.generation != 1 || h.id != "" {
				t.Errorf("left: %v %v", h, err)
			}
		})
	}
}

// Those who wait for a second each have it removed, too.
func TestALockThatWasLeftBehindIsRemovedByThoseWhoWaitBriefly(t *testing.T) {
	for _, recorded := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			_, p := left(t, recorded)
			var shared Reattachable
			to := shared.Attach(Opened(p))
			began := time.Now()
			for {
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				held, err := Lock(short, to, name, nil)
				cancel()
				if err == nil {
					held.Unlock(t.Context())
					break
				}
				if time.Sleep(5 * time.Second); time.Since(began) > time.Minute {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		})
	}
}

func TestALockIsWaitedForAsLongAsItsHolderMayHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(memorystore.Storage)
		first, err := Lock(t.Context(), s.Process(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		var back time.Time
		time.AfterFunc(Section+unlockFor, func() { back = time.Now(); first.Unlock(t.Context()) })
		if _, err := Lock(t.Context(), s.Process(), name, nil); err != nil || back.IsZero() {
			t.Errorf("%v, given back %v", err, back)
		}
	})
}

// list is a value that processes change under its lock: texts, one a line.
func list(ctx context.Context, from Store) ([]string, error) {
	text, err := LoadIfAny(ctx, from, name)
	return strings.Fields(string(text)), err
}

// Of what several processes change under a lock nothing is lost, however slow the storage and
// those who have the lock are, whoever is killed, and whatever the storage does with what was
// left behind; and the next process gets the lock in time.
func TestNothingIsLostThatWasChangedUnderALock(t *testing.T) {
	t.Parallel()
	late, kills, changes := 0, 0, 0
	for seed := range uint64(120) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			source := rand.New(rand.NewPCG(seed, 1))
			random := func(most time.Duration) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(source.Int64N(int64(most)))
			}
			slowest := []time.Duration{time.Millisecond, 20 * time.Millisecond, 150 * time.Millisecond}[seed%3]
			s := &memorystore.Storage{Fresh: seed%2 == 0, Takes: func() time.Duration { return random(slowest) }}
			var done []string
			change := func(p *memorystore.Process, to Store, text string, dies bool) error {
				lock, err := Lock(t.Context(), to, name, nil)
				if err != nil {
					return err
				}
				defer lock.Unlock(t.Context())
				if dies {
					time.AfterFunc(random(4*slowest), p.Kill)
				}
				all, err := list(t.Context(), to)
				if err != nil {
					return err
				}
				if random(4) == 0 { // it is slow, or was stopped
					time.Sleep(random(2 * Abandoned))
				}
				if err := lock.Store(t.Context(), name, []byte(strings.Join(append(all, text), "\n"))); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				done = append(done, text)
				return nil
			}
			var wg sync.WaitGroup
			for i := range 5 {
				wg.Go(func() {
					for n := range 4 {
						p := s.Process()
						var shared Reattachable
						dies := i == 0 && n%2 == 0
						err := change(p, shared.Attach(Opened(p)), fmt.Sprint(i, ".", n), dies)
						mu.Lock()
						if errors.Is(err, ErrSlow) {
							late++
						}
						if dies {
							kills++
						}
						mu.Unlock()
						p.Kill()
						time.Sleep(random(2 * time.Second))
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Minute)
			p := s.Process()
			began := time.Now()
			lock, err := Lock(t.Context(), p, name, nil)
			if err != nil {
				t.Fatalf("seed %d: %v after %v", seed, err, time.Since(began))
			}
			lock.Unlock(t.Context())
			all, err := list(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range done {
				if !slices.Contains(all, text) {
					t.Fatalf("seed %d: %s is lost: of %v there are %v", seed, text, done, all)
				}
			}
			changes += len(done)
		})
	}
	if late == 0 || kills == 0 || changes == 0 {
		t.Errorf("%d were too slow, %d were killed, %d changes", late, kills, changes)
	}
	t.Logf("%d changes, %d were too slow, %d were killed", changes, late, kills)
}

func TestWhoHasLostTheLockStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memorystore.Storage{}
		p, other := s.Process(), s.Process()
		slow, err := Lock(t.Context(), p, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(Section + 1)
		if err := slow.Store(t.Context(), name, nil); !errors.Is(err, ErrSlow) {
			t.Errorf("after its time: %v", err)
		}
		held, err := Lock(t.Context(), other, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		slow.since = time.Now()
		if err := slow.Store(t.Context(), name, nil); !errors.Is(err, ErrSlow) {
			t.Errorf("while somebody else has the lock: %v", err)
		}
		slow.Unlock(t.Context())
		if err := held.Store(t.Context(), name, nil); err != nil {
			t.Errorf("who has the lock cannot store: %v", err)
		}
	})
}

func TestAWaitThatEndsWhileOthersTakeTurnsSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memorystore.Storage{Takes: func() time.Duration { return 20 * time.Millisecond }}
		ctx, end := context.WithCancel(t.Context())
		defer end()
		for range 3 {
			p := s.Process()
			go func() {
				for ctx.Err() == nil {
					if held, err := Lock(ctx, p, name, nil); err == nil {
						held.Unlock(ctx)
					}
				}
			}()
		}
		for within := 2 * time.Second; within < 2500*time.Millisecond; within += 5 * time.Millisecond {
			short, cancel := context.WithTimeout(ctx, within)
			held, err := Lock(short, s.Process(), name, nil)
			cancel()
			switch {
			case err == nil:
				held.Unlock(ctx)
			case !errors.Is(err, ErrTaken):
				t.Errorf("within %v: %v", within, err)
			}
		}
		end()
		time.Sleep(For)
	})
}

func TestTheWaitEndsWhenItIsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := left(t, true)
		began := time.Now()
		held, err := Lock(t.Context(), p, name, func() bool { return time.Since(began) > time.Second })
		if held != nil || err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v, %v after %v", held, err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if held, err := Lock(ctx, s.Process(), name, nil); held != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", held, err)
		}
	})
}

// slow writes slowly and heeds no context, as a file system.
type slow struct {
	*memorystore.Process
	takes time.Duration
}

func (s slow) Store(ctx context.Context, key string, value []byte) error {
	time.Sleep(s.takes)
	return s.Process.Store(ctx, key, value)
}

// Whenever a wait is given up, also while the storage is writing who has the lock, the next one
// gets the lock as soon as the storage has done what it was asked.
func TestAWaitThatIsGivenUpLeavesNothingBehind(t *testing.T) {
	for _, takes := range []time.Duration{50 * time.Millisecond, holderFor / 2, holderFor, 3 * holderFor} {
		for part := range 30 {
			synctest.Test(t, func(t *testing.T) {
				s := &memorystore.Storage{Fresh: true, Takes: func() time.Duration { return time.Millisecond }}
				after := time.Duration(part) * takes / 20
				ctx, cancel := context.WithTimeout(t.Context(), after+1)
				defer cancel()
				held, err := Lock(ctx, slow{s.Process(), takes}, name, nil)
				if held != nil {
					held.Unlock(t.Context())
				} else if err == nil {
					t.Error("neither a lock nor an error")
				}
				time.Sleep(3 * takes) // what has begun ends
				began := time.Now()
				next, err := Lock(t.Context(), s.Process(), name, nil)
				if took := time.Since(began); err != nil || took > lookAtStorageEvery {
					t.Fatalf("given up after %v, writes take %v: %v, %v", after, takes, took, err)
				}
				next.Unlock(t.Context())
				synctest.Wait()
			})
		}
	}
}

// What is written after its writer has given up must not replace what the next holder writes.
func TestALockIsKeptWhileAWriteIsRunningThatWasGivenUp(t *testing.T) {
	for _, takes := range []time.Duration{time.Second, 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := new(memorystore.Storage)
			first, err := Lock(t.Context(), slow{s.Process(), takes / 4}, name, nil)
			if err != nil {
				t.Fatal(err)
			}
			first.at = slow{s.Process(), takes}
			short, cancel := context.WithTimeout(t.Context(), takes/2)
			defer cancel()
			if err := first.Store(short, name, []byte("first")); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if err := first.Store(t.Context(), name, []byte("more")); !errors.Is(err, ErrSlow) {
				t.Errorf("a second write: %v", err)
			}
			first.Unlock(t.Context())
			p := s.Process()
			next, err := Lock(t.Context(), p, name, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := next.Store(t.Context(), name, []byte("next")); err != nil {
				t.Error(err)
			}
			next.Unlock(t.Context())
			time.Sleep(time.Minute)
			if text, err := p.Load(t.Context(), name); string(text) != "next" || err != nil {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// lookAtStorageEvery is how often certmagic's storages look whether a lock is free.
const lookAtStorageEvery = time.Second

// lazy gives its lock when nobody waits for it any more.
type lazy struct{ *memorystore.Process }

func (l lazy) Lock(ctx context.Context, name string) error {
	time.Sleep(time.Minute)
	return l.Process.Lock(context.WithoutCancel(ctx), name)
}

func TestALockThatComesTooLateIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(memorystore.Storage)
		if held, err := Lock(t.Context(), lazy{s.Process()}, name, nil); held != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", held, err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		s.Fresh = true
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Process().Lock(short, name); err != nil {
			t.Errorf("it is left behind: %v", err)
		}
	})
}
