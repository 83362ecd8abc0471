// Limits of each caller: requests per second, and at once.

package ratelimit

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// MaxCallers is the maximum number of remembered callers.
const MaxCallers = 10_000

// Callers limits the requests of each caller. Unlike a Limiter it has no common lock,
// because every request passes it. If there are too many callers it forgets only idle
// ones, so that no caller regains used requests.
type Callers struct {
	rate     rate.Limit
	burst    int
	parallel int64
	callers  sync.Map // name → *usage
	known    atomic.Int64
	forgot   atomic.Int64 // when forgetIdle has looked, unix seconds
}

type usage struct {
	limiter *rate.Limiter
	running atomic.Int64
}

// Exceeded reports the limit that a caller exceeded.
type Exceeded struct {
	// Parallel reports too many concurrent requests; otherwise the rate was exceeded.
	Parallel bool

	// RetryAfter is the time until the next try, at least a second.
	RetryAfter time.Duration
}

// NewCallers limits callers to a number of requests per second with a burst, and to a
// number of concurrent requests. Zero is no limit. With a rate the burst is at least 1.
func NewCallers(perSecond float64, burst, parallel int) *Callers {
	c := &Callers{rate: rate.Inf, parallel: int64(parallel)}
	if perSecond > 0 {
		c.rate, c.burst = rate.Limit(perSecond), burst
	}
	return c
}

// Enter counts a caller's request, or returns the exceeded limit. Call leave when the
// request has ended.
func (c *Callers) Enter(caller string) (leave func(), exceeded *Exceeded) {
	u := c.usage(caller)
	if c.parallel > 0 && u.running.Add(1) > c.parallel {
		u.running.Add(-1)
		return nil, &Exceeded{Parallel: true, RetryAfter: time.Second}
	}
	leave = func() {
		if c.parallel > 0 {
			u.running.Add(-1)
		}
	}
	if reservation := u.limiter.Reserve(); reservation.OK() {
		if wait := reservation.Delay(); wait > 0 {
			reservation.Cancel()
			leave()
			return nil, &Exceeded{RetryAfter: max(wait, time.Second)}
		}
	}
	return leave, nil
}

func (c *Callers) usage(caller string) *usage {
	if known, ok := c.callers.Load(caller); ok {
		return known.(*usage)
	}
	if c.known.Load() >= MaxCallers {
		c.forgetIdle()
	}
	if c.known.Load() >= MaxCallers {
		caller = "" // those for whom there is no place share one
	}
	known, loaded := c.callers.LoadOrStore(caller, &usage{limiter: rate.NewLimiter(c.rate, c.burst)})
	if !loaded {
		c.known.Add(1)
	}
	return known.(*usage)
}

// forgetIdle forgets callers whose limits are as those of new ones. To forget others
// would give back what they have used.
func (c *Callers) forgetIdle() {
	if now := time.Now(); c.forgot.Swap(now.Unix()) == now.Unix() {
		return // a moment ago
	}
	c.callers.Range(func(caller, known any) bool {
		if u := known.(*usage); u.running.Load() == 0 && (c.rate == rate.Inf || u.limiter.Tokens() >= float64(c.burst)) {
			c.callers.Delete(caller)
			c.known.Add(-1)
		}
		return true
	})
}
