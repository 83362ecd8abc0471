// What an operator may do to a session.

package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// OperateTimeout is the time limit of an action on one session.
const OperateTimeout = 2 * time.Minute

// MayLogin returns an error if a refused login could lock the user of the session at
// the server, as the stored tries tell. force allows it.
func (s *Session) MayLogin(ctx context.Context, force bool) error {
	if force {
		return nil
	}
	if look := s.Options().LookAtBudget; look != nil {
		look(ctx)
	}
	b := s.State().Budget
	if b.Of == 0 || b.Left > 1 {
		return nil
	}
	return lastTryError{b}
}

// lastTryError says that an operator's login was not sent, because a refusal could lock the
// user.
type lastTryError struct{ left lockout.Budget }

func (e lastTryError) Error() string {
	return fmt.Sprintf("nothing was sent: %s, and a refused login could lock the user at the server; --force logs in anyway", e.left)
}

// Reason implements veeam.Reasoner.
func (lastTryError) Reason() veeam.Reason { return veeam.ReasonLockedOutBudget }

// Login replaces the session by a new one and logs the old one out. force uses the last
// try of a lock-out budget, and logs in even if no try is left.
func (s *Session) Login(ctx context.Context, force bool) error {
	g := s.granter()
	if g == nil {
		return errors.New("no request has required this session yet")
	}
	if err := s.Lift(ctx); err != nil {
		return err
	}
	if tok, _ := s.Current(time.Now()); tok != nil {
		tok.Exhaust()
		s.Reject(tok)
	}
	_, err := s.Get(waitContext{ctx, g.values}, g.getForced(force))
	return loginOutcome(err, s.State().Budget)
}

// MayRenewNow returns an error if RenewNow could lock the user of the session at the
// server, because there is no refresh token and so it logs in.
func (s *Session) MayRenewNow(ctx context.Context, force bool) error {
	if tok, _ := s.Current(time.Now()); tok != nil && s.Renewable() {
		return nil
	}
	return s.MayLogin(ctx, force)
}

// RenewNow renews the session by its refresh token. It logs in where there is none, or
// where the server refuses it. Requests use the session so far meanwhile. force is that
// of Login.
func (s *Session) RenewNow(ctx context.Context, force bool) error {
	g := s.granter()
	if g == nil {
		return errors.New("no request has required this session yet")
	}
	if err := s.Lift(ctx); err != nil {
		return err
	}
	_, err := s.Session.RenewNow(waitContext{ctx, g.values}, g.getForced(force))
	return loginOutcome(err, s.State().Budget)
}

// getForced is get; force spends the last try of a lock-out budget.
func (g *granter) getForced(force bool) tokencache.GrantFunc {
	if !force {
		return g.get
	}
	return func(ctx context.Context, prev *tokencache.Token) (*tokencache.Token, error) {
		return g.get(forced(ctx), prev)
	}
}

// loginOutcome says what a login that has failed has sent, and what it has cost.
func loginOutcome(err error, left lockout.Budget) error {
	blocked, ok := errors.AsType[*tokencache.BlockedError](err)
	switch {
	case !ok:
		return err
	case isOverdrawn(err):
		return fmt.Errorf("nothing was sent: %w; --force logs in anyway", blocked.Cause)
	case blocked.Held && left.Of > 0:
		return fmt.Errorf("the login was sent: %w; %s", blocked.Cause, left)
	}
	return blocked.Cause
}

// Logout discards the session and ends it at the server, even if its token is only in a
// cache.
func (s *Session) Logout(ctx context.Context) error {
	tok, err := s.Forget(ctx)
	e := s.ender.Load()
	if e == nil {
		e = s.access.Load() // the token came from the cache
	}
	if e != nil && tok != nil {
		within, cancel := context.WithTimeout(e.values, LogoutFor)
		defer cancel()
		e.logout().run(within, tok)
	}
	return err
}
