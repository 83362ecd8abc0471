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
	sibling, _ := s.state.sessions.Get(key)
	return sibling
}

// lockCredentials waits until no credential of the account's user is being sent at the
// server, and keeps others from being sent until ctx ends, when the outcome is known: while
// a password changes there may be several.
func (s *Session) lockCredentials(ctx context.Context) error {
	key := sessionKey{origin: s.key.origin, product: s.key.product, account: s.key.account, user: s.key.user}
	sending := s.state.sending.Acquire(key, func() chan struct{} { return make(chan struct{}, 1) })
	select {
	case sending <- struct{}{}:
		context.AfterFunc(ctx, func() {
			<-sending
			s.state.sending.Release(key)
		})
		return nil
	case <-ctx.Done():
		s.state.sending.Release(key)
		return ctx.Err()
	}
}

// heldAtSibling returns the error of the sibling if the credential is on hold there.
func (s *Session) heldAtSibling(ctx context.Context) error {
	if other := s.other(); other != nil {
		if held := other.Held(ctx); held != nil {
			return held.Cause
		}
	}
	return nil
}

// other is the sibling or, where only another process may have it, what a cache knows
// of it; nil if there is neither.
func (s *Session) other() *tokencache.Session {
	if sibling := s.sibling(); sibling != nil {
		return sibling.Session
	}
	options := s.Options()
	if options.Shared == nil || s.key.user != "" {
		return nil
	}
	options.Discard, options.Turned, options.Joined, options.LeftBehind = nil, nil, nil, nil // those of this session
	options.Identity.Purpose, options.HoldOnly = parentPurpose, true
	if s.key.parent {
		options.Identity.Purpose, options.HoldOnly = "", false
	}
	return tokencache.NewSession(options)
}

// LiftSibling ends the hold of the other session with the same credential, which would
// prevent this session from sending it.
func (s *Session) LiftSibling(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, OperateTimeout)
	defer cancel()
	if other := s.other(); other != nil && other.Held(ctx) != nil {
		_ = other.Lift(ctx) // the next look says if it is held all the same
	}
}

// accepted is told that the server has taken the credential.
func (s *Session) accepted(ctx context.Context) {
	if sibling := s.sibling(); sibling != nil && sibling.State().HeldFor > 0 {
		_ = sibling.Lift(ctx)
	}
}
