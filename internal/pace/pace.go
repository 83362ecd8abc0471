// Package pace limits the token requests to one server: all accounts of all processes wait
// for each other, and for the server when it has asked to be left alone.
package pace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

const (
	// maxWait is how long a token request waits at most for the rate limit. A
	// request that would wait longer is refused at once, with the time after which it
	// may be retried.
	maxWait = 30 * time.Second

	// What must be left of a grant's time for the request itself.
	requestFor = 5 * time.Second

	// How late a request may come to the moment that was kept for it.
	maxLate = 50 * time.Millisecond

	// throttledFor is how long a server is left alone that asks to wait and does not
	// say how long.
	throttledFor = time.Second

	// maxPause is how long a server is left alone at most, whatever it asks.
	maxPause = time.Hour
)

// Limiter is the rate limiter of token requests to one server, for all accounts. It
// outlives configurations. The zero value is ready for use.
type Limiter struct {
	// Product and Origin identify the server. Required with Turn.Shared.
	Product, Origin string

	mu      sync.Mutex
	known   history       // as of the last look into the store, and of what was done since
	unsaved history       // of that, what the store does not have
	ahead   *sealed.Ahead // a pause in the store, nil as a rule
	queue   []*question
	serving bool

	yields *semaphore.Weighted // has the turn that yields and asks now
}

// question is a question to the history, with its answer.
type question struct {
	rates   ratelimit.Rates
	more    bool          // another one follows
	longest time.Duration // it may wait
	soon    bool          // the first moment must not be in the future
	back    []time.Time   // moments that were kept for it and are not used
	pause   time.Time     // not a question: the server wants nothing before

	at, second time.Time     // when they may be sent
	wait       time.Duration // too long: it may not be sent
	paused     bool          // because the server has asked so
	done       chan struct{}
}

// Error says that a token request is not sent now.
type Error struct {
	// Wait is the time after which it may be retried.
	Wait time.Duration

	// Paused tells that the server has asked to wait.
	Paused bool
}

// Error returns the reason.
func (e *Error) Error() string {
	why := "the pace of token requests to the server is exhausted"
	if e.Paused {
		why = "the server asked to retry token requests later"
	}
	return fmt.Sprintf("%s; the next one is in %v", why, e.Wait.Round(time.Second))
}

// Delay returns how long to wait, at least one second.
func (e *Error) Delay() time.Duration { return max(e.Wait, time.Second) }

// Turn is what one grant uses of a Limiter.
type Turn struct {
	// Limiter is that of the server. Required.
	Limiter *Limiter

	// Rates are the limits. A login may take two requests, so a limit of one in a minute or
	// an hour counts as two. Default: no limits, but the server may still ask to wait.
	Rates ratelimit.Rates

	// Yields makes a request take only a moment that has come, and leave later ones to
	// others. Requests that yield wait for each other in the order of their arrival. With
	// half of the rates they do not delay the others: they count all requests, and send
	// nothing while more than half of the rates is used. Default: false, a request
	// reserves the next free moment.
	Yields bool

	// Shared makes the count common to all processes with the store. Default: not
	// shared.
	Shared *sealed.Store

	// Delayed is called before each wait. Default: not called.
	Delayed func(wait time.Duration)

	mu   sync.Mutex
	kept time.Time // for the next step
}

// Wait returns when a token request may be sent. It returns a *Error at once if
// that would take too long, and ctx's error if ctx ends first.
func (t *Turn) Wait(ctx context.Context, step ratelimit.Step) error {
	a := &question{rates: t.Rates, more: step == ratelimit.StepFirst, longest: maxWait}
	end, limited := ctx.Deadline()
	switch {
	case limited && step == ratelimit.StepNext:
		a.longest = time.Until(end) - requestFor
	case limited:
		a.longest = min(a.longest, time.Until(end)-requestFor)
	}
	a.longest = max(a.longest, 0)
	giveUp := time.Now().Add(a.longest)
	kept := t.take()
	if step == ratelimit.StepNext && !kept.IsZero() && time.Since(kept.Round(0)) <= maxLate {
		a.at = kept
	} else {
		if !kept.IsZero() {
			a.back = []time.Time{kept}
		}
		reserve := t.reserve
		if t.Yields && t.Rates != (ratelimit.Rates{}) {
			reserve = t.yield
		}
		if err := reserve(ctx, a); err != nil {
			return err
		}
	}
	for {
		wait := time.Until(a.at)
		if wait <= 0 {
			break
		}
		if t.Delayed != nil {
			t.Delayed(wait)
		}
		if err := bounded.Sleep(ctx, wait); err != nil {
			return err
		}
		if !t.Limiter.pausedUntil(ctx, t.Shared).After(time.Now()) {
			break
		}
		// Meanwhile the server has asked to wait.
		a.back, a.longest = []time.Time{a.at, a.second}, max(time.Until(giveUp), 0)
		if err := t.reserve(ctx, a); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = a.second
	return nil
}

// Throttled records that the server has refused a token request because there were too
// many. wait is how long the server asks to wait, 0 if it does not say. ctx limits the
// time to tell other processes.
func (t *Turn) Throttled(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		wait = throttledFor
	}
	until := time.Now().Round(0).Add(min(wait, maxPause))
	p := t.Limiter
	p.mu.Lock()
	p.known.pause(until)
	p.unsaved.pause(until)
	p.mu.Unlock()
	if t.Shared != nil {
		_ = p.ask(ctx, t.Shared, &question{pause: until})
	}
}

func (t *Turn) take() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept
	t.kept = time.Time{}
	return kept
}

// reserve finds the moment for a request.
func (t *Turn) reserve(ctx context.Context, a *question) error {
	p := t.Limiter
	switch {
	case a.rates == ratelimit.Rates{}:
		a.at, a.second = time.Now(), time.Time{}
		if paused := p.pausedUntil(ctx, t.Shared); paused.After(a.at) {
			a.at, a.paused = paused, true
			if wait := time.Until(paused); wait > a.longest {
				a.wait = wait
			}
		}
	case t.Shared == nil:
		p.mu.Lock()
		p.known.reserve(a, time.Now())
		p.mu.Unlock()
	default:
		if err := p.ask(ctx, t.Shared, a); err != nil {
			return err
		}
	}
	if a.wait > 0 {
		return &Error{Wait: a.wait, Paused: a.paused}
	}
	return nil
}

// yield finds the moment for a request that yields: now, as soon as now is free.
func (t *Turn) yield(ctx context.Context, a *question) error {
	giveUp := time.Now().Add(a.longest)
	patient, cancel := context.WithDeadline(ctx, giveUp)
	defer cancel()
	first := t.Limiter.first()
	if !first.TryAcquire(1) && first.Acquire(patient, 1) != nil {
		return cmp.Or(ctx.Err(), error(&Error{Wait: time.Second}))
	}
	defer first.Release(1)
	a.soon = true
	for told := false; ; told = true {
		err := t.reserve(ctx, a)
		late, ok := errors.AsType[*Error](err)
		if !ok || late.Wait > time.Until(giveUp) {
			return err
		}
		a.back = nil // they were given back
		if t.Delayed != nil && !told {
			t.Delayed(late.Wait)
		}
		if err := bounded.Sleep(ctx, late.Wait); err != nil {
			return err
		}
	}
}

// first is held by the turn that yields and asks.
func (p *Limiter) first() *semaphore.Weighted {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.yields == nil {
		p.yields = semaphore.NewWeighted(1)
	}
	return p.yields
}
