// How a request without a token gets one: which secrets are tried, and in which order.

package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// obtain gets a token where the session in use has none.
func (s *Source) obtain(ctx context.Context, o *cause) (*tokencache.Token, *tokencache.Session, error) {
	s.touch(time.Now())
	maxAge := ResolveEvery
	for reads := 1; ; reads++ {
		tok, session, err := s.obtainWith(ctx, maxAge, o)
		if !errors.Is(err, ErrSecretChanged) || reads == stableReads || ctx.Err() != nil {
			return tok, session, err
		}
		maxAge = 0
	}
}

// obtainWith is obtain with secrets that were read no longer than maxAge ago.
func (s *Source) obtainWith(ctx context.Context, maxAge time.Duration, o *cause) (*tokencache.Token, *tokencache.Session, error) {
	configured, err := s.stable(ctx, maxAge, o)
	if err != nil {
		return nil, nil, err
	}
	l, tok, err := s.attempt(ctx, o)
	if isHeld(err) {
		// The secret may have been replaced since it was read.
		if again, errAgain := s.stable(ctx, ResolveHeldEvery, o); errAgain == nil && again != configured {
			l, tok, err = s.attempt(ctx, o)
		}
	}
	if passwordRefused(err) {
		l, tok, err = s.attemptNext(ctx, l, err, o)
	}
	return tok, l.session.Session, err
}

// attempt asks the sessions that may have a token, in the order of their chances. The
// error is that of the configured secret, or of the session in use where that decides.
func (s *Source) attempt(ctx context.Context, o *cause) (*candidate, *tokencache.Token, error) {
	configured, current, order := s.rotation.plan()
	over := false // the session in use is
	if order == orderInUse {
		tok, err := s.get(ctx, current, o)
		if over = isOver(err); !over {
			return current, tok, err
		}
	}
	tok, err := s.get(ctx, configured, o)
	if err == nil {
		return configured, tok, nil
	}
	if order == orderInUseLast && ctx.Err() == nil {
		tok, errCurrent := s.get(ctx, current, o)
		if errCurrent == nil {
			return current, tok, nil
		}
		over = isOver(errCurrent)
	}
	if isHeld(err) && over && current.kept.Load() {
		s.rotation.lost(current)
	}
	return configured, nil, err
}

// isOver reports whether a session cannot be renewed any more.
func isOver(err error) bool { return isHeld(err) || errors.Is(err, errReplaced) }

// attemptNext tries next_password, because the server refuses the configured
// password. If it refuses both, both are held for as long.
func (s *Source) attemptNext(ctx context.Context, configured *candidate, refusal error, o *cause) (*candidate, *tokencache.Token, error) {
	next := s.stableNext(ctx, o.journal)
	if next == nil {
		return configured, nil, refusal
	}
	tok, err := s.get(ctx, next, o)
	if !isHeld(err) {
		return next, tok, err
	}
	var first, second *tokencache.BlockedError
	if errors.As(refusal, &first) && errors.As(err, &second) && first.Until.Before(second.Until) {
		_ = configured.session.Extend(context.WithoutCancel(ctx), second.Until)
		refusal = &tokencache.BlockedError{Cause: first.Cause, Until: second.Until, Held: true}
	}
	return configured, nil, refusal
}

// get asks one session, and records how the server judges its secret.
func (s *Source) get(ctx context.Context, l *candidate, o *cause) (*tokencache.Token, error) {
	defer s.rotation.ask(l)()
	grant, values, ended := s.waiting(l, o)
	tok, err := l.session.Get(waitContext{ctx, values}, grant)
	ended(err)
	switch {
	case err == nil:
		s.accepted(l)
	case isHeld(err):
		if !l.session.refused.Swap(true) {
			secret.Refused()
			if !isSuspended(err) && (l.next || l != s.rotation.current.Load()) {
				s.refused(l, o.journal)
			}
		}
		s.rotation.judged(l, false)
	}
	return tok, err
}

// accepted records that the server has accepted the secret of a candidate, or what an
// operator has entered for it.
func (s *Source) accepted(l *candidate) {
	l.session.refused.Store(false)
	s.server.watch.start()
	s.rotation.judged(l, true)
}

func isHeld(err error) bool {
	blocked, ok := errors.AsType[*tokencache.BlockedError](err)
	return ok && blocked.Held
}

// isSuspended reports whether a person has to act.
func isSuspended(err error) bool {
	blocked, ok := errors.AsType[*tokencache.BlockedError](err)
	return ok && blocked.Suspended
}

// passwordRefused reports whether another password may help where the credential
// was refused.
func passwordRefused(err error) bool {
	if failed, ok := errors.AsType[*veeam.Error](err); ok && (failed.Kind != veeam.KindRefused || failed.Grant == veeam.GrantMFA) {
		return false
	}
	return isHeld(err) && !isSuspended(err)
}
