// What operators may do to a session.

package tokencache

import (
	"context"
	"errors"
	"time"
)

// Lift ends the hold or pause, here and in the store, so that the next request
// tries again. An error says that it is lifted here only.
func (s *Session) Lift(ctx context.Context) error {
	s.Release()
	return s.change(ctx, func(rec *record) { rec.Block = nil })
}

// Forget throws the token away, here and in the store, and lifts the hold. Other
// processes use their copies of it until they end. It returns the token that
// was in use here, or nil. An error says that the store still has it.
func (s *Session) Forget(ctx context.Context) (*Token, error) {
	s.Release()
	s.mu.Lock()
	s.spare = nil
	s.mu.Unlock()
	tok := s.current.Swap(nil)
	err := s.change(ctx, func(rec *record) {
		s.floor.Store(max(s.floor.Load(), rec.Fence)) // it may be read once more before it is gone
		rec.Token, rec.Block = nil, nil
	})
	return tok, err
}

// Extend makes a hold that is in force last until a later time, here and in the
// store, as if the credential had been refused once more. An error says that it
// lasts longer here only.
func (s *Session) Extend(ctx context.Context, until time.Time) error {
	s.mu.Lock()
	if s.block == nil || !s.block.Held || !s.block.Until.Before(until) {
		s.mu.Unlock()
		return nil
	}
	longer := *s.block
	longer.Until = until
	s.block = &longer
	s.mu.Unlock()
	return s.change(ctx, func(rec *record) {
		if rec.Block != nil && rec.Block.Held && rec.Block.Until.Before(until.Round(0)) {
			rec.Block.Until = until.Round(0)
		}
	})
}

// Held returns the hold of the credential that is in force, here or in the store,
// or nil.
func (s *Session) Held(ctx context.Context) *BlockedError {
	blocked := s.blocked(time.Now())
	if sh := s.options.Shared; sh != nil {
		if at, err := sh.bind(s.options.Identity); err == nil {
			if rec, err := load[record](ctx, sh, at); err == nil {
				_, err := s.judge(rec, time.Now())
				blocked, _ = errors.AsType[*BlockedError](err)
			}
		}
	}
	if blocked == nil || !blocked.Held {
		return nil
	}
	return blocked
}

// Renewable reports whether the session has a token that its refresh token may
// renew, be it over or not.
func (s *Session) Renewable() bool {
	tok := s.current.Load()
	if tok == nil {
		s.mu.Lock()
		tok = s.spare
		s.mu.Unlock()
	}
	return tok != nil && tok.Renewable()
}

// change changes the session's record, if it has one. A grant that is under way
// somewhere goes on.
func (s *Session) change(ctx context.Context, change func(*record)) error {
	sh := s.options.Shared
	if sh == nil {
		return nil
	}
	place, err := sh.bind(s.options.Identity)
	if err != nil {
		return err
	}
	return update(ctx, sh, place, nil, func(rec *record) *record {
		if rec == nil {
			return nil
		}
		change(rec)
		rec.Fence = max(rec.Fence, s.blockedAt.Load()) + 1
		rec.Writer = sh.holder()
		return rec
	})
}
