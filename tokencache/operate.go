// What operators may do to a session.

package tokencache

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

// Lift ends the hold or pause in this process and in the store, so that the next
// request tries a grant. An error means that it has ended in this process only.
func (s *Session) Lift(ctx context.Context) error {
	s.Release()
	return s.change(ctx, func(rec *record) { rec.Block = nil })
}

// RenewNow renews the current token although that is not due, and waits for it. The token
// stays in use meanwhile, and afterwards if the renewal fails. Without a token it does
// what Get does.
func (s *Session) RenewNow(ctx context.Context, grant GrantFunc) (*Token, error) {
	tok, _ := s.Current(time.Now())
	if tok == nil {
		return s.await(ctx, grant)
	}
	tok.early.Store(true)
	renewed, err := s.await(ctx, grant)
	if err == nil && renewed == tok { // of a flight that was about to end
		renewed, err = s.await(ctx, grant)
	}
	if err != nil {
		tok.early.Store(false) // no request is to repeat it
	}
	return renewed, err
}

// Forget discards the token in this process and in the store, and ends the hold. Other
// processes use their copies until they expire. It returns the token that was in use
// here, or nil. An error means that the store still has it.
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

// Extend extends a hold that is in force, in this process and in the store, as one more
// refusal would. An error means that it is extended in this process only.
func (s *Session) Extend(ctx context.Context, until time.Time) error {
	s.mu.Lock()
	if s.block == nil || !s.block.Held || s.block.Suspended || !s.block.Until.Before(until) {
		s.mu.Unlock()
		return nil
	}
	longer := *s.block
	longer.Until = until
	s.block = &longer
	s.mu.Unlock()
	return s.change(ctx, func(rec *record) {
		if rec.Block != nil && rec.Block.Held && !rec.Block.Suspended && rec.Block.Until.Before(until.Round(0)) {
			rec.Block.Until = until.Round(0)
		}
	})
}

// Held returns the hold that is in force in this process or in the store, or nil.
func (s *Session) Held(ctx context.Context) *BlockedError {
	blocked := s.blocked(time.Now())
	if sh := s.options.Shared; sh != nil {
		if at, err := bind(sh, s.options.Identity); err == nil {
			if rec, err := sealed.Load[record](ctx, sh, at); err == nil {
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

// Renewable reports whether the session has a token that its refresh token may renew,
// even if the token has expired.
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
	at, err := bind(sh, s.options.Identity)
	if err != nil {
		return err
	}
	return sealed.Update(ctx, sh, at, nil, func(rec *record) *record {
		if rec == nil {
			return nil
		}
		change(rec)
		rec.Fence = max(rec.Fence, s.blockedAt.Load()) + 1
		rec.Writer = holder(sh)
		return rec
	})
}
