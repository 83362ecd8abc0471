// A session whose grant requires something from a person: nothing is sent until an
// operator acts.

package tokencache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// suspendedRetry is after which time those may ask again who need a token of a
	// suspended session.
	suspendedRetry = 30 * time.Second

	// pastTries is how often Past tries to begin a grant where others were faster.
	pastTries = 3
)

// suspends reports whether only a person can help with an error.
func suspends(err error) bool {
	var e interface{ Suspends() bool }
	return errors.As(err, &e) && e.Suspends()
}

// Suspended returns why the session is suspended, as far as it is known here, or nil.
func (s *Session) Suspended() *BlockedError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == nil || !s.block.Suspended {
		return nil
	}
	return s.block
}

// past lets one grant begin although a hold, a pause or a suspension is in force.
type past struct {
	seen    bool      // the store was looked at
	until   time.Time // what marks the block that it had then
	stopped atomic.Bool
}

// passes reports whether the block of a record may be passed: it was in force when the
// store was looked at first. A later one tells of a grant of another process.
func (p *past) passes(rec *record) bool {
	if p == nil {
		return false
	}
	var until time.Time
	if rec != nil && rec.Block != nil {
		until = rec.Block.Until
	}
	if !p.seen {
		p.seen, p.until = true, until
	}
	if !until.Equal(p.until) {
		p.stopped.Store(true)
		return false
	}
	return true
}

// Past gets a token by one grant that begins although a hold, a pause or a suspension is
// in force, here and in the store. They stay in force for all other callers until the
// grant has ended. begun reports whether a grant has begun that does what the caller
// wants; Past joins one that is under way, and begins another if that one did not. At
// most one caller of a session may be in Past at a time.
func (s *Session) Past(ctx context.Context, grant GrantFunc, begun func() bool) (*Token, error) {
	s.waiters.Add(1)
	defer s.waiters.Add(-1)
	defer s.past.Store(nil)
	for try := 1; ; try++ {
		p := new(past)
		s.past.Store(p)
		select {
		case result := <-s.fly(ctx, grant):
			switch {
			case result.Err == nil:
				return result.Val.(*Token), nil
			case begun(), p.stopped.Load(), try == pastTries:
				return nil, result.Err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
