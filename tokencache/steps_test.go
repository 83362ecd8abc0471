package tokencache

import (
	"crypto/sha256"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStepIsTakenByOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := newMemory(), newKeys(t)
		seed, other := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 5 {
			s := start(store, k).shared
			wg.Go(func() {
				last, ok, err := s.TakeStep(t.Context(), seed, 100)
				if ok {
					taken.Add(1)
				} else if last != 100 || err != nil {
					t.Errorf("last %d, %v", last, err)
				}
			})
		}
		wg.Wait()
		if taken.Load() != 1 {
			t.Errorf("taken %d times", taken.Load())
		}
		s := start(store, k).shared
		for _, tt := range []struct {
			seed  [32]byte
			step  int64
			taken bool
		}{{seed, 99, false}, {seed, 100, false}, {seed, 101, true}, {other, 50, true}, {seed, 101 - stepsAhead, false}, {seed, 100 - stepsAhead, true}} {
			if _, ok, err := s.TakeStep(t.Context(), tt.seed, tt.step); ok != tt.taken || err != nil {
				t.Errorf("step %d: %v, %v", tt.step, ok, err)
			}
		}
		store.breakWith(func(string) error { return errStore })
		if _, ok, err := s.TakeStep(t.Context(), seed, 1000); ok || err == nil {
			t.Error("taken without the store")
		}
	})
}

// Of several processes that wait for a lock which a killed one has left behind, one takes the
// step, however the calls of the storage interleave.
func TestAStepIsTakenByOneProcessAlsoUnderALockThatWasLeftBehind(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			store, k := newMemory(), newKeys(t)
			store.fresh = true
			seedOf := sha256.Sum256([]byte("a"))
			if _, ok, err := start(store, k).shared.TakeStep(t.Context(), seedOf, 99); !ok || err != nil {
				t.Fatal(err)
			}
			for key := range store.snapshot() {
				if err := store.Lock(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 1))
			pause := func() {
				mu.Lock()
				ms := time.Duration(random.IntN(20)) * time.Millisecond
				mu.Unlock()
				time.Sleep(ms)
			}
			store.breakWith(func(string) error {
				pause()
				return nil
			})
			var taken atomic.Int64
			var wg sync.WaitGroup
			for range 4 {
				pause()
				s := start(store, k).shared
				wg.Go(func() {
					if _, ok, err := s.TakeStep(t.Context(), seedOf, 100); ok {
						taken.Add(1)
					} else if err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				})
			}
			wg.Wait()
			if taken.Load() != 1 {
				t.Errorf("seed %d: taken %d times", seed, taken.Load())
			}
		})
	}
}
