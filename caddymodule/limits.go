// Limits of each caller: requests per second, and at once.

package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/time/rate"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// RateLimit is how fast one caller may send requests.
type RateLimit struct {
	// Requests per second, at least 0.01. Required.
	PerSecond float64 `json:"per_second"`

	// How many requests may come at once before the rate counts. Default: the
	// rate, rounded up.
	Burst int `json:"burst,omitempty"`
}

// validate refuses what would limit nothing.
func (l *RateLimit) validate() error {
	switch {
	case l == nil:
	case !(l.PerSecond >= 0.01):
		return fmt.Errorf("rate_limit: %v is not a number of requests per second of at least 0.01", l.PerSecond)
	case l.Burst < 0:
		return errors.New("rate_limit: the burst is negative")
	}
	return nil
}

// maxCallers bounds how many callers are remembered.
const maxCallers = 10_000

// limits are those of one handler.
type limits struct {
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

// newLimits returns nil if nothing is limited.
func newLimits(configured *RateLimit, parallel int) *limits {
	if configured == nil && parallel == 0 {
		return nil
	}
	l := &limits{rate: rate.Inf, parallel: int64(parallel)}
	if configured != nil {
		l.rate, l.burst = rate.Limit(configured.PerSecond), configured.Burst
		if l.burst == 0 {
			l.burst = int(math.Ceil(configured.PerSecond))
		}
	}
	return l
}

// enter counts a request of a caller in, or says why it must wait. leave must be
// called when the request is over.
func (l *limits) enter(caller string) (leave func(), refusal *veeam.Refusal) {
	u := l.usage(caller)
	if l.parallel > 0 && u.running.Add(1) > l.parallel {
		u.running.Add(-1)
		return nil, &veeam.Refusal{
			Reason: veeam.ReasonThrottled, RetryAfter: time.Second,
			Message: "This client has too many requests at once.",
		}
	}
	leave = func() {
		if l.parallel > 0 {
			u.running.Add(-1)
		}
	}
	if reservation := u.limiter.Reserve(); reservation.OK() {
		if wait := reservation.Delay(); wait > 0 {
			reservation.Cancel()
			leave()
			return nil, &veeam.Refusal{
				Reason: veeam.ReasonThrottled, RetryAfter: max(wait, time.Second),
				Message: "This client sends requests too fast.",
			}
		}
	}
	return leave, nil
}

func (l *limits) usage(caller string) *usage {
	if known, ok := l.callers.Load(caller); ok {
		return known.(*usage)
	}
	if l.known.Load() >= maxCallers {
		l.forgetIdle()
	}
	if l.known.Load() >= maxCallers {
		caller = "" // those for whom there is no place share one
	}
	known, loaded := l.callers.LoadOrStore(caller, &usage{limiter: rate.NewLimiter(l.rate, l.burst)})
	if !loaded {
		l.known.Add(1)
	}
	return known.(*usage)
}

// forgetIdle forgets callers whose limits are as those of new ones. To forget others
// would give back what they have used.
func (l *limits) forgetIdle() {
	if now := time.Now(); l.forgot.Swap(now.Unix()) == now.Unix() {
		return // a moment ago
	}
	l.callers.Range(func(caller, known any) bool {
		if u := known.(*usage); u.running.Load() == 0 && (l.rate == rate.Inf || u.limiter.Tokens() >= float64(l.burst)) {
			l.callers.Delete(caller)
			l.known.Add(-1)
		}
		return true
	})
}

// rateLimit reads the subdirective:
//
//	rate_limit <requests per second> [<burst>]
func (p *directiveParser) rateLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 && len(args) != 2 {
		return d.Err("rate_limit takes the requests per second and perhaps a burst")
	}
	limit := new(RateLimit)
	var err error
	if limit.PerSecond, err = strconv.ParseFloat(args[0], 64); err != nil || !(limit.PerSecond >= 0.01) || math.IsInf(limit.PerSecond, 0) {
		return d.Errf("rate_limit: %q is not a number of requests per second of at least 0.01", args[0])
	}
	if len(args) == 2 {
		if limit.Burst, err = strconv.Atoi(args[1]); err != nil || limit.Burst <= 0 {
			return d.Errf("rate_limit: the burst %q is not a number above zero", args[1])
		}
	}
	p.handler.RateLimit = limit
	return noBlock(d)
}
