package password

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever comes and goes: no more checks than places, one for each source, never more
// who wait than may, and in the end nobody.
func TestTheRoomIsNeverOverfull(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			r := newRoom(1 + int(seed%3))
			running := make(map[string]int)
			all := 0
			const visits = 2000
			var served, full int
			for i := range visits {
				v := &visitor{source: fmt.Sprint(random.IntN(1 + int(seed)*250)), slow: random.IntN(2) == 0, rank: random.IntN(3)}
				stay, patience := time.Duration(random.IntN(100))*time.Millisecond, time.Duration(random.IntN(5000))*time.Millisecond
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					leave, err := r.enter(ctx, v)
					r.mu.Lock()
					defer r.mu.Unlock()
					if err != nil {
						full++
						if !errors.Is(err, errFull) && !errors.Is(err, context.DeadlineExceeded) {
							t.Error(err)
						}
						return
					}
					served++
					running[v.source]++
					if all++; all > r.parallel || running[v.source] > 1 {
						t.Errorf("%d checks, %d of one source", all, running[v.source])
					}
					r.mu.Unlock()
					time.Sleep(stay)
					r.mu.Lock()
					running[v.source]--
					all--
					r.mu.Unlock()
					leave(i%3 == 0)
					r.mu.Lock()
				}()
				r.mu.Lock()
				waiting := 0
				for _, s := range r.sources {
					waiting += len(s.waiting)
					if len(s.waiting) > perSource {
						t.Errorf("%d wait of one source", len(s.waiting))
					}
				}
				if waiting != r.waiting || waiting > inAll {
					t.Errorf("%d wait, %d are counted", waiting, r.waiting)
				}
				r.mu.Unlock()
				if random.IntN(50) == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}
			time.Sleep(time.Minute)
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.sources) != 0 || r.waiting != 0 || r.running != 0 || served == 0 || served+full != visits {
				t.Errorf("%d sources, %d wait, %d run; %d served, %d not", len(r.sources), r.waiting, r.running, served, full)
			}
		})
	}
}

// A source that was never wrong is called before those that were, however many wait.
func TestANewcomerGetsAPlaceInAFullRoomAndIsCalledNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(1)
		ctx, cancel := context.WithCancel(t.Context())
		check := func(source string, right bool) error {
			leave, err := r.enter(ctx, &visitor{source: source})
			if err == nil {
				time.Sleep(checkTakes)
				leave(right)
			}
			return err
		}
		const guessers = 2 * inAll
		for i := range guessers {
			r.wrong.Add(fmt.Sprint("guesser ", i), time.Now())
			for range 2 {
				go check(fmt.Sprint("guesser ", i), false)
			}
		}
		synctest.Wait()
		r.mu.Lock()
		if r.waiting != inAll {
			t.Errorf("%d wait", r.waiting)
		}
		r.mu.Unlock()
		began := time.Now()
		if err := check("newcomer", true); err != nil || time.Since(began) > 2*checkTakes {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

// Callers that logged in before come before unknown ones; of these,
// neither a crowd that came before nor a stream of new ones keeps one out.
func TestSourcesOfWhichNothingIsKnownTakeTurnsAfterThoseThatWereRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(1)
		check := func(source string) {
			if leave, err := r.enter(t.Context(), &visitor{source: source}); err == nil {
				time.Sleep(checkTakes)
				leave(false)
			}
		}
		for i := range 50 {
			go check(fmt.Sprint("crowd ", i))
		}
		synctest.Wait()
		began := time.Now()
		check("in the crowd")
		if took := time.Since(began); took > 3*checkTakes {
			t.Errorf("behind a crowd of new ones: %v", took)
		}
		r.let("right before")
		began = time.Now()
		check("right before")
		if took := time.Since(began); took > 2*checkTakes {
			t.Errorf("where a right password came from before: %v", took)
		}
		go func() { // two new ones in the time of each check
			for i := range 2000 {
				go check(fmt.Sprint("stream ", i))
				time.Sleep(checkTakes / 2)
			}
		}()
		began = time.Now()
		check("in the stream")
		if took := time.Since(began); took > 200*checkTakes {
			t.Errorf("in a stream of new ones: %v", took)
		}
		time.Sleep(time.Hour)
	})
}

func TestASourceThatWasWrongComesAfterThoseThatWereNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(1)
		var (
			mu    sync.Mutex
			order []string
		)
		check := func(source string, right bool) {
			leave, err := r.enter(t.Context(), &visitor{source: source})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, source)
			mu.Unlock()
			time.Sleep(checkTakes)
			leave(right)
		}
		check("wrong twice", false)
		check("wrong once", false)
		check("wrong twice", false)
		mu.Lock()
		order = nil
		mu.Unlock()
		go check("first", true)
		synctest.Wait()
		for _, source := range []string{"wrong twice", "wrong once", "new", "newer"} {
			go check(source, false)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(order[:1], order[3:]); got != "[first] [wrong once wrong twice]" {
			t.Errorf("called in the order %q", order)
		}
	})
}
