package sealed

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

func TestAStepIsTakenByOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storage memorystore.Storage
		k := newKeys(t)
		seed, other := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 5 {
			s := over(storage.Process(), k)
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
		process := storage.Process()
		s := over(process, k)
		for _, tt := range []struct {
			seed  [32]byte
			step  int64
			taken bool
		}{{seed, 99, false}, {seed, 100, false}, {seed, 101, true}, {other, 50, true}, {seed, 101 - stepsAhead, false}, {seed, 100 - stepsAhead, true}} {
			if _, ok, err := s.TakeStep(t.Context(), tt.seed, tt.step); ok != tt.taken || err != nil {
				t.Errorf("step %d: %v, %v", tt.step, ok, err)
			}
		}
		process.Break(func(string, string) error { return errors.New("connection refused") })
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
			storage, k := memorystore.Storage{Fresh: true}, newKeys(t)
			seedOf := sha256.Sum256([]byte("a"))
			if _, ok, err := over(storage.Process(), k).TakeStep(t.Context(), seedOf, 99); !ok || err != nil {
				t.Fatal(err)
			}
			if err := storage.Process().Lock(t.Context(), "veeam_auth/totp/"+k.Name("totp", string(seedOf[:]))); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 1))
			pause := func() {
				mu.Lock()
				ms := time.Duration(random.IntN(20)) * time.Millisecond
				mu.Unlock()
				time.Sleep(ms)
			}
			var taken atomic.Int64
			var wg sync.WaitGroup
			for range 4 {
				pause()
				process := storage.Process()
				process.Break(func(string, string) error {
					pause()
					return nil
				})
				s := over(process, k)
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
