// TOTPLedger: the verification codes that were used. A server accepts each one once.

package veeam

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
)

// TOTPLedger returns verification codes, each at most once. One ledger serves the whole
// process, so that two accounts or sites with the same seed do not use the same code.
// The zero value is ready for use.
type TOTPLedger struct {
	mu   sync.Mutex
	last map[[sha256.Size]byte]int64 // the latest step given out, by seed
}

// processLedger outlives a reload, because the server refuses a code that was used
// before it.
var processLedger TOTPLedger

// StepStore records used verification codes for several processes.
type StepStore interface {
	// TakeStep records that the code of a step is about to be sent. If the same or a
	// later step was recorded before, it records nothing and returns that step and
	// false. seed identifies the seed and must be stored as a keyed hash. An error
	// means that the store is not available.
	TakeStep(ctx context.Context, seed [sha256.Size]byte, step int64) (last int64, taken bool, err error)
}

// Next returns a code that is valid now. It waits for the next step if the code of the
// current step was already returned, or if the step ends so soon (within a second, or a
// tenth of a short period) that the code would be expired when it arrives. It returns
// ctx's error if ctx ends first, and context.DeadlineExceeded immediately if the wait
// would exceed ctx's deadline.
func (l *TOTPLedger) Next(ctx context.Context, t *TOTP) (string, error) {
	return l.next(ctx, t, 0, nil)
}

// next is Next for a server whose clock is ahead by the duration ahead. The step is recorded in steps,
// unless that is nil, before the code is returned. If steps fails,
// the code is used nevertheless.
func (l *TOTPLedger) next(ctx context.Context, t *TOTP, ahead time.Duration, steps StepStore) (string, error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		step, wait := l.reserve(t, time.Now().Add(ahead))
		if wait <= 0 && steps != nil {
			last, taken, err := steps.TakeStep(ctx, t.id, step)
			switch {
			case err == nil && !taken:
				l.used(t, last)
				continue
			case err == nil && !t.lasts(step, time.Now().Add(ahead)):
				continue // the store took its time: this step is lost
			}
		}
		if wait <= 0 {
			return t.code(step)
		}
		if err := outwait(ctx, wait); err != nil {
			return "", err
		}
	}
}

// await waits until there is an unused code, and returns none.
func (l *TOTPLedger) await(ctx context.Context, t *TOTP, ahead time.Duration) error {
	l.mu.Lock()
	_, wait := l.free(t, time.Now().Add(ahead))
	l.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	return outwait(ctx, wait)
}

// outwait sleeps, unless that would exceed ctx's deadline.
func outwait(ctx context.Context, wait time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return context.DeadlineExceeded
	}
	_, end := tracing.Start(ctx, tracing.Code, tracing.About{})
	err := bounded.Sleep(ctx, wait)
	if err != nil {
		end(string(ReasonOf(err)))
	} else {
		end("")
	}
	return err
}

// used records a step that another process has used.
func (l *TOTPLedger) used(t *TOTP, step int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[t.id] = max(l.last[t.id], step)
}

// lasts reports whether a code of the step can arrive before the step ends.
func (t *TOTP) lasts(step int64, now time.Time) bool {
	return t.start(step+1).Sub(now) >= min(time.Second, t.period/10)
}

// free returns the current step, or the time to wait for one. If the clock was set back,
// the wait lasts until the steps already used are over.
func (l *TOTPLedger) free(t *TOTP, now time.Time) (step int64, wait time.Duration) {
	step = t.step(now)
	last, used := l.last[t.id]
	switch {
	case used && step <= last:
		return 0, t.start(last + 1).Sub(now)
	case !t.lasts(step, now):
		return 0, t.start(step + 1).Sub(now)
	}
	return step, 0
}

// reserve takes the current step, or returns the time to wait for one.
func (l *TOTPLedger) reserve(t *TOTP, now time.Time) (step int64, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	step, wait = l.free(t, now)
	if wait > 0 {
		return 0, wait
	}
	if l.last == nil {
		l.last = map[[sha256.Size]byte]int64{}
	}
	l.last[t.id] = step
	return step, 0
}
