// The verification codes that were used. A server accepts each one once.

package totp

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

// Ledger returns verification codes, each at most once. One ledger serves the whole
// process, so that two accounts or sites with the same seed do not use the same code.
// The zero value is ready for use.
type Ledger struct {
	mu   sync.Mutex
	last map[[sha256.Size]byte]int64 // the latest step given out, by seed
}

// Steps records used verification codes for several processes.
type Steps interface {
	// TakeStep records that the code of a step is about to be sent. If the same or a
	// later step was recorded before, it records nothing and returns that step and
	// false. seed identifies the seed and must be stored as a keyed hash. An error
	// means that the store is not available.
	TakeStep(ctx context.Context, seed [sha256.Size]byte, step int64) (last int64, taken bool, err error)
}

// maxOffsetSteps is how many steps, rounded, a server's clock may be ahead or behind and
// still be followed exactly.
const maxOffsetSteps = 2

// Options of a code.
type Options struct {
	// Offset is how far the server's clock is ahead of the local one. Codes follow it by
	// at most two and a half periods.
	Offset time.Duration

	// Steps records the code for other processes before it is returned. If it fails, the
	// code is used nevertheless. Default: none.
	Steps Steps

	// Sleep is called to wait for an unused code. It returns ctx's error if ctx ends
	// first. Default: bounded.Sleep.
	Sleep func(context.Context, time.Duration) error
}

// now is the time by which the code of a secret is chosen.
func (o *Options) now(s *Secret) time.Time {
	most := maxOffsetSteps*s.period + s.period/2
	return time.Now().Add(max(-most, min(o.Offset, most)))
}

// Next returns a code that is valid now. It waits for the next step if the code of the
// current step was already returned, or if the step ends so soon (within a second, or a
// tenth of a short period) that the code would be expired when it arrives. It returns
// ctx's error if ctx ends first, and context.DeadlineExceeded immediately if the wait
// would exceed ctx's deadline.
func (l *Ledger) Next(ctx context.Context, s *Secret, o Options) (string, error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		step, wait := l.reserve(s, o.now(s))
		if wait <= 0 && o.Steps != nil {
			last, taken, err := o.Steps.TakeStep(ctx, s.id, step)
			switch {
			case err == nil && !taken:
				l.used(s, last)
				continue
			case err == nil && !s.lasts(step, o.now(s)):
				continue // the store took its time: this step is lost
			}
		}
		if wait <= 0 {
			return s.code(step)
		}
		if err := o.outwait(ctx, wait); err != nil {
			return "", err
		}
	}
}

// Await waits until there is a code that this process has not used, and uses none. It does
// not ask Options.Steps, and somebody else may take the code first.
func (l *Ledger) Await(ctx context.Context, s *Secret, o Options) error {
	l.mu.Lock()
	_, wait := l.free(s, o.now(s))
	l.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	return o.outwait(ctx, wait)
}

// outwait sleeps, unless that would exceed ctx's deadline.
func (o *Options) outwait(ctx context.Context, wait time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return context.DeadlineExceeded
	}
	if o.Sleep != nil {
		return o.Sleep(ctx, wait)
	}
	return bounded.Sleep(ctx, wait)
}

// used records a step that another process has used.
func (l *Ledger) used(s *Secret, step int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[s.id] = max(l.last[s.id], step)
}

// lasts reports whether a code of the step can arrive before the step ends.
func (s *Secret) lasts(step int64, now time.Time) bool {
	return s.start(step+1).Sub(now) >= min(time.Second, s.period/10)
}

// free returns the current step, or the time to wait for one. If the clock was set back,
// the wait lasts until the steps already used are over.
func (l *Ledger) free(s *Secret, now time.Time) (step int64, wait time.Duration) {
	step = s.step(now)
	last, used := l.last[s.id]
	switch {
	case used && step <= last:
		return 0, s.start(last + 1).Sub(now)
	case !s.lasts(step, now):
		return 0, s.start(step + 1).Sub(now)
	}
	return step, 0
}

// reserve takes the current step, or returns the time to wait for one.
func (l *Ledger) reserve(s *Secret, now time.Time) (step int64, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	step, wait = l.free(s, now)
	if wait > 0 {
		return 0, wait
	}
	if l.last == nil {
		l.last = map[[sha256.Size]byte]int64{}
	}
	l.last[s.id] = step
	return step, 0
}
