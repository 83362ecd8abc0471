// Which verification codes were used: a server takes each one once.

package veeam

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// TOTPLedger hands out verification codes, each at most once. One ledger serves
// the whole process, so that two accounts or sites with the same seed do not use
// the same code. The zero value is ready for use.
type TOTPLedger struct {
	mu   sync.Mutex
	last map[[sha256.Size]byte]int64 // the latest step given out, by seed
}

var processLedger TOTPLedger

// Next returns a code for now. It waits for the next step if the code of the
// current one was given out, or if so little is left of it - a second, or a tenth
// of a short period - that it would be over when the server looks at it. It
// returns ctx's error if ctx ends first, and at once if the wait would outlast
// ctx's deadline.
func (l *TOTPLedger) Next(ctx context.Context, t *TOTP) (string, error) {
	for {
		step, wait := l.reserve(t, time.Now())
		if wait <= 0 {
			return t.code(step)
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return "", context.DeadlineExceeded
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", ctx.Err()
		}
	}
}

// reserve takes the current step, or says how long to wait for one. Should the
// clock have been set back, the wait is until the steps already used are over.
func (l *TOTPLedger) reserve(t *TOTP, now time.Time) (step int64, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	step = t.step(now)
	last, used := l.last[t.id]
	switch left := t.start(step + 1).Sub(now); {
	case used && step <= last:
		return 0, t.start(last + 1).Sub(now)
	case left < min(time.Second, t.period/10):
		return 0, left
	}
	if l.last == nil {
		l.last = map[[sha256.Size]byte]int64{}
	}
	l.last[t.id] = step
	return step, 0
}
