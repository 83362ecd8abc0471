package pace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process sends token requests to a server.
type process struct {
	limiter *Limiter
	storage *memorystore.Process // as the process sees it
	shared  *sealed.Store        // nil without one

	mu  sync.Mutex
	log []string
}

func alone() *process { return &process{limiter: &Limiter{Product: "vbr", Origin: "https vbr01:9419"}} }

func start(storage *memorystore.Storage, k *sealed.Keyset) *process {
	p := alone()
	p.storage = storage.Process()
	p.shared = sealed.New(sealed.Options{
		Keys: func() (sealed.Sealer, error) { return k, nil },
		Log: func(message string, err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.log = append(p.log, fmt.Sprint(message, ": ", err))
		},
	})
	p.shared.Attach(p.storage)
	return p
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.log, "; ")
}

// breaks has every call of the storage fail, and mends heals it.
func (p *process) breaks() {
	p.storage.Break(func(string, string) error { return errors.New("connection refused") })
}

func (p *process) mends() { p.storage.Break(func(string, string) error { return nil }) }

func newKeys(t *testing.T) *sealed.Keyset {
	t.Helper()
	k, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// slow has each call of a storage take some time.
func slow(storage *memorystore.Storage, takes time.Duration) {
	storage.Takes = func() time.Duration { return takes / 2 }
}

// turn is a grant of the process, in its cache or for itself.
func (p *process) turn(rates ratelimit.Rates) *Turn {
	return &Turn{Limiter: p.limiter, Rates: rates, Shared: p.shared}
}

// arrivals are the moments at which a server was sent token requests.
type arrivals struct {
	mu sync.Mutex
	at []time.Time
}

func (a *arrivals) add() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

// most is the most that came in any window.
func (a *arrivals) most(window time.Duration) (most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, start := range a.at {
		n := 0
		for _, at := range a.at {
			if !at.Before(start) && at.Before(start.Add(window)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

var vb365 = ratelimit.Rates{PerSecond: 1, PerMinute: 5, PerHour: 1500}

func TestThreeProcessesTogetherKeepThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage, k, seen := new(memorystore.Storage), newKeys(t), new(arrivals)
		slow(storage, 5*time.Millisecond)
		var wg sync.WaitGroup
		for range 3 {
			p := start(storage, k)
			for range 4 { // accounts, of which each tries until it has logged in
				wg.Go(func() {
					for {
						turn := p.turn(vb365)
						err := turn.Wait(t.Context(), ratelimit.StepFirst)
						if err == nil {
							seen.add()
							time.Sleep(200 * time.Millisecond) // the server's answer
							if err = turn.Wait(t.Context(), ratelimit.StepNext); err == nil {
								seen.add()
								return
							}
						}
						var refused *Error
						if !errors.As(err, &refused) {
							t.Error(err)
							return
						}
						time.Sleep(refused.Delay())
					}
				})
			}
		}
		began := time.Now()
		wg.Wait()
		if n := seen.count(); n != 24 {
			t.Errorf("%d requests for 12 logins", n)
		}
		if s, m := seen.most(time.Second), seen.most(time.Minute); s > 1 || m > 5 {
			t.Errorf("%d in a second, %d in a minute", s, m)
		}
		if took := time.Since(began); took > 10*time.Minute {
			t.Errorf("12 logins took %v", took)
		}
	})
}

// Processes that come and go, a store that fails or not: as long as it works, no
// window has more than it may have.
func TestThePaceIsKeptWhateverProcessesDo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var end any
		synctest.Test(t, func(t *testing.T) {
			defer func() { end = recover() }()
			storage, k, seen := new(memorystore.Storage), newKeys(t), new(arrivals)
			// All that happens here happens at whole moments: who looks once in a second
			// may meet another each time until it goes on without the store.
			storage.LookEvery = 7 * time.Millisecond
			rates := ratelimit.Rates{PerSecond: rapid.IntRange(1, 3).Draw(rt, "s"), PerMinute: rapid.IntRange(2, 9).Draw(rt, "m")}
			all := []*process{start(storage, k), start(storage, k)}
			var wg sync.WaitGroup
			defer wg.Wait()
			for range rapid.IntRange(1, 40).Draw(rt, "n") {
				i := rapid.IntRange(0, len(all)-1).Draw(rt, "process")
				if rapid.IntRange(0, 7).Draw(rt, "restart") == 0 {
					all[i] = start(storage, k)
				}
				p, step := all[i], ratelimit.StepOnly
				if rapid.Bool().Draw(rt, "two") {
					step = ratelimit.StepFirst
				}
				answer := time.Duration(rapid.SampledFrom([]int{1, 100, 3000, 20_000}).Draw(rt, "ms")) * time.Millisecond
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
					defer cancel()
					turn := p.turn(rates)
					if turn.Wait(ctx, step) != nil {
						return
					}
					seen.add()
					if time.Sleep(answer); step == ratelimit.StepFirst && turn.Wait(ctx, ratelimit.StepNext) == nil {
						seen.add()
					}
				})
				time.Sleep(time.Duration(rapid.SampledFrom([]int{0, 0, 10, 500, 20_000}).Draw(rt, "pause")) * time.Millisecond)
			}
			wg.Wait()
			if s, m := seen.most(time.Second), seen.most(time.Minute); s > rates.PerSecond || m > rates.PerMinute {
				rt.Fatalf("%d in a second, %d in a minute: %+v", s, m, rates)
			}
		})
		if end != nil {
			panic(end)
		}
	})
}

func TestARequestThatWouldWaitTooLongIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Limiter{}
		turn := &Turn{Limiter: p, Rates: ratelimit.Rates{PerMinute: 2}}
		for range 2 {
			if err := turn.Wait(t.Context(), ratelimit.StepOnly); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		err := turn.Wait(t.Context(), ratelimit.StepOnly)
		var refused *Error
		if !errors.As(err, &refused) || refused.Delay() < time.Minute || refused.Delay() > 63*time.Second || refused.Paused || time.Since(began) > 0 {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		time.Sleep(refused.Delay() - maxWait)
		_ = (&Turn{Limiter: p, Rates: ratelimit.Rates{PerMinute: 3}}).Wait(t.Context(), ratelimit.StepOnly)
		if err := turn.Wait(t.Context(), ratelimit.StepOnly); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited < time.Minute {
			t.Errorf("sent after %v", waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := (&Turn{Limiter: p, Rates: ratelimit.Rates{PerMinute: 1}}).Wait(ctx, ratelimit.StepOnly); !errors.As(err, &refused) {
			t.Errorf("what the grant's time is too short for: %v", err)
		}
	})
}

func TestWhatTheServerAsksForHoldsAllAccountsOfAllProcesses(t *testing.T) {
	for _, rates := range []ratelimit.Rates{vb365, {}} {
		synctest.Test(t, func(t *testing.T) {
			storage, k := new(memorystore.Storage), newKeys(t)
			one, two := start(storage, k), start(storage, k)
			asleep := make(chan error)
			go func() { // it has its turn already when the server asks to wait
				_ = two.turn(ratelimit.Rates{PerSecond: 1}).Wait(t.Context(), ratelimit.StepOnly)
				asleep <- two.turn(ratelimit.Rates{PerSecond: 1}).Wait(t.Context(), ratelimit.StepOnly)
			}()
			time.Sleep(100 * time.Millisecond)
			one.turn(rates).Throttled(t.Context(), 100*time.Second)
			for _, p := range []*process{one, two, start(storage, k)} {
				err := p.turn(rates).Wait(t.Context(), ratelimit.StepOnly)
				var refused *Error
				if !errors.As(err, &refused) || !refused.Paused || refused.Delay() > 100*time.Second || refused.Delay() < 90*time.Second {
					t.Errorf("%v", err)
				}
			}
			if err := <-asleep; err == nil {
				t.Error("one that slept has been sent")
			}
			time.Sleep(80 * time.Second)
			began := time.Now()
			if err := two.turn(rates).Wait(t.Context(), ratelimit.StepOnly); err != nil {
				t.Error(err)
			}
			if waited := time.Since(began); waited < 15*time.Second {
				t.Errorf("waited %v", waited)
			}
		})
	}
}

func TestAServerThatDoesNotSayHowLongIsLeftAloneForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := &Turn{Limiter: &Limiter{}}
		turn.Throttled(t.Context(), 0)
		began := time.Now()
		if err := turn.Wait(t.Context(), ratelimit.StepOnly); err != nil || time.Since(began) < throttledFor || time.Since(began) > 2*throttledFor {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestWithoutTheStoreAProcessKeepsThePaceByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage, k, seen := new(memorystore.Storage), newKeys(t), new(arrivals)
		one, two := start(storage, k), start(storage, k)
		send := func(p *process) {
			if p.turn(vb365).Wait(t.Context(), ratelimit.StepOnly) == nil {
				seen.add()
			}
		}
		send(one)
		one.breaks()
		two.breaks()
		for range 10 {
			send(one)
		}
		if m := seen.most(time.Minute); seen.count() < 5 || m > 5 {
			t.Errorf("%d in a minute", m)
		}
		if said := one.said(); strings.Count(said, "memory only") != 1 {
			t.Errorf("said %q", said)
		}
		time.Sleep(time.Hour)
		*seen = arrivals{}
		send(one)
		send(one)
		one.mends()
		two.mends()
		time.Sleep(5 * time.Second) // so long a storage is left alone that has failed
		send(one)                   // tells what was sent meanwhile
		for range 8 {
			send(two)
		}
		if m := seen.most(time.Minute); seen.count() < 5 || m > 5 {
			t.Errorf("after the store is back: %d in a minute, %d in all", m, seen.count())
		}
		empty(t, storage) // whoever comes next puts back what it knows
		send(two)
		for range 8 {
			send(one)
		}
		if m := seen.most(time.Minute); m > 5 {
			t.Errorf("after the store was emptied: %d in a minute", m)
		}
	})
}

// empty deletes the records of a storage.
func empty(t *testing.T, storage *memorystore.Storage) {
	t.Helper()
	p := storage.Process()
	keys, err := p.List(t.Context(), "veeam_auth/pace", false)
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		_ = p.Delete(t.Context(), key)
	}
}

func TestAStoreThatHangsDelaysATokenRequestLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := new(memorystore.Storage)
		p := start(storage, newKeys(t))
		slow(storage, time.Hour)
		began := time.Now()
		turn := p.turn(vb365)
		if err := turn.Wait(t.Context(), ratelimit.StepOnly); err != nil || time.Since(began) > exchangeFor {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		if turn.Throttled(t.Context(), time.Minute); time.Since(began) > exchangeFor {
			t.Errorf("telling took %v", time.Since(began))
		}
		var refused *Error
		if err := turn.Wait(t.Context(), ratelimit.StepOnly); !errors.As(err, &refused) {
			t.Errorf("the server's wish is forgotten: %v", err)
		}
		time.Sleep(2 * time.Hour) // what is left to itself ends
	})
}

func TestManyRequestsOfAProcessAreAnsweredByFewExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage, k := new(memorystore.Storage), newKeys(t)
		slow(storage, 2*time.Millisecond)
		var exchanges atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			p := start(storage, k)
			p.storage.Break(func(string, string) error {
				exchanges.Add(1)
				return nil
			})
			for range 100 {
				wg.Go(func() {
					if err := p.turn(ratelimit.Rates{PerSecond: 1000}).Wait(t.Context(), ratelimit.StepOnly); err != nil {
						t.Error(err)
					}
				})
			}
		}
		began := time.Now()
		wg.Wait()
		if n, took := exchanges.Load(), time.Since(began); n > 100 || took > 5*time.Second {
			t.Errorf("%d exchanges, %v for 300 requests", n, took)
		}
	})
}

func TestWhoeverGivesUpWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(new(memorystore.Storage), newKeys(t))
		_ = p.turn(vb365).Wait(t.Context(), ratelimit.StepOnly)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		if err := p.turn(vb365).Wait(ctx, ratelimit.StepOnly); !errors.Is(err, context.Canceled) || time.Since(began) > 200*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Those that yield take no moment that others could have, and never more than their
// share.
func TestThoseThatYieldDelayNobody(t *testing.T) {
	for _, rates := range []ratelimit.Rates{{PerSecond: 10, PerMinute: 300}, {PerSecond: 4}, {PerMinute: 10}, {PerSecond: 2, PerMinute: 6}} {
		for _, shared := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				p := alone()
				if shared {
					p = start(new(memorystore.Storage), newKeys(t))
				}
				var wg sync.WaitGroup
				yielding, seen := new(arrivals), new(arrivals)
				for i := range 200 {
					wg.Go(func() {
						turn := p.turn(rates.Half())
						turn.Yields = true
						steps := []ratelimit.Step{ratelimit.StepOnly}
						if i%2 == 0 {
							steps = []ratelimit.Step{ratelimit.StepFirst, ratelimit.StepNext}
						}
						for _, step := range steps {
							if turn.Wait(t.Context(), step) == nil {
								yielding.add()
								seen.add()
							}
						}
					})
				}
				for range 3 {
					time.Sleep(9 * time.Second)
					began := time.Now()
					if err := p.turn(rates).Wait(t.Context(), ratelimit.StepOnly); err != nil {
						t.Error(err)
					}
					if took := time.Since(began); took != 0 {
						t.Errorf("%+v: an account waited %v", rates, took)
					}
					seen.add()
				}
				wg.Wait()
				for _, limit := range []struct {
					most   int
					window time.Duration
				}{{rates.PerSecond, time.Second}, {rates.PerMinute, time.Minute}} {
					if limit.most == 0 {
						continue
					}
					if n := yielding.most(limit.window); n > max(limit.most/2, 1) || n == 0 {
						t.Errorf("%+v: those that yield sent %d in %v", rates, n, limit.window)
					}
					if n := seen.most(limit.window); n > limit.most {
						t.Errorf("%+v: %d were sent in %v", rates, n, limit.window)
					}
				}
			})
		}
	}
}

// Of a pace that cannot be halved nothing is taken ahead: an account waits for one
// request at most.
func TestAPaceThatCannotBeHalvedIsYieldedRequestByRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, rates := alone(), ratelimit.Rates{PerSecond: 1}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				turn := p.turn(rates.Half())
				turn.Yields = true
				_ = turn.Wait(t.Context(), ratelimit.StepOnly)
			})
		}
		time.Sleep(10 * time.Second)
		began := time.Now()
		if err := p.turn(rates).Wait(t.Context(), ratelimit.StepOnly); err != nil || time.Since(began) > 1200*time.Millisecond {
			t.Errorf("an account waited %v: %v", time.Since(began), err)
		}
		wg.Wait()
	})
}

func TestAPauseOfAServerNotedByAClockThatIsAheadEndsAllTheSame(t *testing.T) {
	for _, rates := range []ratelimit.Rates{{}, vb365} {
		synctest.Test(t, func(t *testing.T) {
			p := start(new(memorystore.Storage), newKeys(t))
			at, err := p.limiter.recordKey(p.shared)
			if err != nil {
				t.Fatal(err)
			}
			err = sealed.Update(t.Context(), p.shared, at, nil, func(*history) *history {
				return &history{NotBefore: time.Now().Round(0).Add(48 * time.Hour)}
			})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for time.Since(began) < 3*time.Hour && p.turn(rates).Wait(t.Context(), ratelimit.StepOnly) != nil {
				time.Sleep(time.Second)
			}
			if took := time.Since(began); took < 30*time.Minute || took > maxPause+time.Minute {
				t.Errorf("%v: no token request for %v", rates, took)
			}
		})
	}
}
