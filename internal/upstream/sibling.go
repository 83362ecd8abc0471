// The two sessions of an account that serves others: a credential that the server
// refuses is not sent for both.

package upstream

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// sibling is the other session of the process with the same credential, or nil.
func (s *Session) sibling() *Session {
	key := s.key
	key.parent = !key.parent
	twin, _ := s.state.sessions.Get(key)
	return twin
}

// lockBoth waits until the credential is not being sent for the twin, and keeps it from
// being sent there until ctx ends, when the outcome is known. It returns the error
// of the twin if the credential is on hold there.
func (s *Session) lockBoth(ctx context.Context) error {
	first, second := s, s.sibling()
	if !s.key.parent {
		first, second = second, first // in one order
	}
	for _, each := range []*Session{first, second} {
		if each == nil {
			continue
		}
		select {
		case each.sending <- struct{}{}:
			context.AfterFunc(ctx, func() { <-each.sending })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if other := s.other(); other != nil { // it may have come meanwhile
		if held := other.Held(ctx); held != nil {
			return held.Cause
		}
	}
	return nil
}

// other is the twin or, where only another process may have it, what a cache knows
// of it; nil if there is neither.
func (s *Session) other() *tokencache.Session {
	if twin := s.sibling(); twin != nil {
		return twin.Session
	}
	if s.options.Shared == nil || s.key.user != "" {
		return nil
	}
	options := s.options
	options.Identity.Purpose, options.HoldOnly = parentPurpose, true
	if s.key.parent {
		options.Identity.Purpose, options.HoldOnly = "", false
	}
	return tokencache.NewSession(options)
}

// LiftSibling lifts the hold of the other session, which would keep the credential
// from being sent for this one.
func (s *Session) LiftSibling(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, OperateTimeout)
	defer cancel()
	if other := s.other(); other != nil && other.Held(ctx) != nil {
		_ = other.Lift(ctx) // the next look says if it is held all the same
	}
}

// accepted is told that the server has taken the credential.
func (s *Session) accepted(ctx context.Context) {
	if twin := s.sibling(); twin != nil && twin.State().HeldFor > 0 {
		_ = twin.Lift(ctx)
	}
}
