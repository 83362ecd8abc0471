// Tests of used codes. Time is that of testing/synctest, which starts at midnight.

package totp

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func parse(t *testing.T, seed string) *Secret {
	t.Helper()
	parsed, err := Parse(secret.New(seed))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// next gets a code and says after how long.
func next(t *testing.T, l *Ledger, seed *Secret) (string, time.Duration) {
	t.Helper()
	start := time.Now()
	code, err := l.Next(context.Background(), seed, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return code, time.Since(start)
}

func TestACodeIsUsedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, seed := &Ledger{}, parse(t, rfcSHA1)
		time.Sleep(10 * time.Second)
		first, waited := next(t, l, seed)
		if waited != 0 {
			t.Errorf("the first code came after %v", waited)
		}
		second, waited := next(t, l, seed)
		if waited != 20*time.Second || second == first {
			t.Errorf("the second code, %s after %s, came after %v", second, first, waited)
		}
		if want, _ := seed.code(seed.step(time.Now())); second != want {
			t.Errorf("got %s, want %s of the step that has begun", second, want)
		}
	})
}

func TestACodeThatIsAboutToEndIsNotUsed(t *testing.T) {
	for _, tt := range []struct {
		seed        string
		sleep, want time.Duration
	}{
		{rfcSHA1, 29 * time.Second, 0}, // a second is left
		{rfcSHA1, 29*time.Second + time.Millisecond, 999 * time.Millisecond},
		{rfcSHA1, 30 * time.Second, 0},
		{"otpauth://totp/x?period=5&secret=" + rfcSHA1, 4500 * time.Millisecond, 0},
		{"otpauth://totp/x?period=5&secret=" + rfcSHA1, 4501 * time.Millisecond, 499 * time.Millisecond},
		{"otpauth://totp/x?period=60&secret=" + rfcSHA1, 59500 * time.Millisecond, 500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(tt.sleep)
			seed := parse(t, tt.seed)
			code, waited := next(t, &Ledger{}, seed)
			if want, _ := seed.code(seed.step(time.Now())); waited != tt.want || code != want {
				t.Errorf("at %v: waited %v, want %v; code %s, want %s", tt.sleep, waited, tt.want, code, want)
			}
		})
	}
}

func TestEverybodyWithOneSeedGetsAStepOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other := &Ledger{}, parse(t, rfcSHA256)
		var mu sync.Mutex
		steps := map[int64]bool{}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				seed := parse(t, rfcSHA1) // a seed, not an object, is what counts
				if _, err := l.Next(context.Background(), seed, Options{}); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				steps[seed.step(time.Now())] = true
			})
		}
		synctest.Wait()
		if _, waited := next(t, l, other); waited != 0 {
			t.Errorf("another seed waited %v", waited)
		}
		wg.Wait()
		if len(steps) != 5 {
			t.Errorf("five logins used %d steps", len(steps))
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, seed := &Ledger{}, parse(t, rfcSHA1)
		next(t, l, seed)

		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := l.Next(ctx, seed, Options{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 0 {
			t.Errorf("hopeless wait: %v after %v", err, time.Since(start))
		}
		ctx, cancel = context.WithCancel(context.Background())
		time.AfterFunc(7*time.Second, cancel)
		if _, err := l.Next(ctx, seed, Options{}); !errors.Is(err, context.Canceled) || time.Since(start) != 7*time.Second {
			t.Errorf("canceled: %v after %v", err, time.Since(start))
		}
		if _, waited := next(t, l, seed); waited != 23*time.Second {
			t.Errorf("who gave up used a step: waited %v", waited)
		}
	})
}

func TestNoStepIsUsedAgainWhenTheClockIsSetBack(t *testing.T) {
	l, seed := &Ledger{}, parse(t, rfcSHA1)
	now := time.Unix(1_700_000_010, 0)
	step, wait := l.reserve(seed, now)
	if wait != 0 || step != seed.step(now) {
		t.Fatalf("got step %d, wait %v", step, wait)
	}
	back := now.Add(-65 * time.Second)
	if _, wait := l.reserve(seed, back); wait != seed.start(step+1).Sub(back) {
		t.Errorf("waits %v", wait)
	}
}

func TestCodesFollowTheClockOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := parse(t, rfcSHA1)
		for offset, want := range map[time.Duration]time.Duration{
			0: 0, 10 * time.Second: 10 * time.Second, time.Hour: 75 * time.Second, -time.Hour: -75 * time.Second,
		} {
			o := Options{Offset: offset}
			if got := time.Until(o.now(seed)); got != want {
				t.Errorf("%v: follows by %v", offset, got)
			}
			code, err := new(Ledger).Next(t.Context(), seed, o)
			if server, _ := seed.code(seed.step(time.Now().Add(want))); err != nil || code != server {
				t.Errorf("%v: code %s, %v, want %s", offset, code, err, server)
			}
		}
	})
}

// sharedSteps is a Steps in memory, which may be slow or fail.
type sharedSteps struct {
	mu    sync.Mutex
	last  map[[32]byte]int64
	takes time.Duration
	once  bool // takes that long once
	err   error
}

func (s *sharedSteps) TakeStep(_ context.Context, seed [32]byte, step int64) (int64, bool, error) {
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.once {
		s.takes = 0
	}
	if s.err != nil {
		return 0, false, s.err
	}
	if last, ok := s.last[seed]; ok && last >= step {
		return last, false, nil
	}
	s.last[seed] = step
	return 0, true, nil
}

func TestAStepThatTheStoreTookTooLongForIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := &sharedSteps{last: map[[32]byte]int64{}, takes: 29500 * time.Millisecond, once: true}
		l, seed := &Ledger{}, parse(t, rfcSHA1)
		code, err := l.Next(t.Context(), seed, Options{Steps: steps})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if want, _ := seed.code(seed.step(now)); code != want || !seed.lasts(seed.step(now), now) {
			t.Error("a code of a step that is over")
		}
	})
}

func TestWithoutTheStoreOfStepsOurOwnLedgerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := &sharedSteps{err: errors.New("away")}
		l, seed := &Ledger{}, parse(t, rfcSHA1)
		first, err := l.Next(t.Context(), seed, Options{Steps: steps})
		second, err2 := l.Next(t.Context(), seed, Options{Steps: steps})
		if err != nil || err2 != nil || first == second {
			t.Errorf("%v, %v", err, err2)
		}
	})
}

// Whatever the clock does, a seed's steps are given out in growing order, never
// at a step's very end, and who waits as long as told gets one.
func TestStepsOfASeedOnlyGrow(t *testing.T) {
	seeds := []*Secret{parse(t, rfcSHA1), parse(t, "otpauth://totp/x?period=7&secret="+rfcSHA1)}
	rapid.Check(t, func(t *rapid.T) {
		l, now := &Ledger{}, time.Unix(1_700_000_000, 0)
		last := map[*Secret]int64{}
		for range rapid.IntRange(1, 30).Draw(t, "logins") {
			seed := rapid.SampledFrom(seeds).Draw(t, "seed")
			now = now.Add(time.Duration(rapid.Int64Range(int64(-2*time.Minute), int64(2*time.Minute)).Draw(t, "pause")))
			at := now
			step, wait := l.reserve(seed, at)
			for tries := 0; wait > 0; tries++ {
				if tries == 2 {
					t.Fatalf("still waiting after %d waits", tries)
				}
				at = at.Add(wait)
				step, wait = l.reserve(seed, at)
			}
			if step <= last[seed] {
				t.Fatalf("step %d after %d", step, last[seed])
			}
			if step != seed.step(at) {
				t.Fatalf("step %d in the time of %d", step, seed.step(at))
			}
			if left := seed.start(step + 1).Sub(at); left < min(time.Second, seed.period/10) {
				t.Fatalf("only %v are left of the step", left)
			}
			last[seed] = step
		}
	})
}
