// The end of upstream sessions: whatever is not needed any more is logged out,
// where the product can end one session.

package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// logoutFor bounds a logout, and with it how long the process waits for logouts
// before it exits.
const logoutFor = 5 * time.Second

// ender logs a session out. It is what the last login of a session leaves behind.
type ender struct {
	state   *State
	client  *veeam.Client
	version func() string // of the API, where the client names none
	account *veeam.Account
	values  context.Context // how to dial, see grantContext
	journal journal.Journal
}

// end logs tok out in the background.
func (e *ender) end(tok *tokencache.Token) {
	e.state.logouts.Go(func() {
		ctx, cancel := context.WithTimeout(e.values, logoutFor)
		defer cancel()
		e.logout(ctx, tok)
	})
}

func (e *ender) logout(ctx context.Context, tok *tokencache.Token) {
	client := *e.client
	if client.APIVersion == "" && e.version != nil {
		client.APIVersion = e.version()
	}
	session := &veeam.Token{Access: tok.Access, Refresh: tok.Refresh, Grant: e.account.Grant}
	var err error
	if !time.Now().Before(tok.Expires()) && tok.Renewable() && client.Product.SessionLogout != nil {
		// Its refresh token would keep the session alive, and only an access token
		// that is good ends both.
		if session, err = client.Refresh(ctx, e.account, tok.Refresh); err == nil {
			err = client.Logout(ctx, session)
		}
	} else {
		err = client.Logout(ctx, session)
	}
	var failed *veeam.Error
	switch {
	case err == nil:
		e.journal.LoggedOut(e.account)
	case errors.Is(err, veeam.ErrNoLogout):
	case errors.As(err, &failed) && failed.CredentialRefused():
		// The server has ended it before.
	default:
		e.journal.LogoutFailed(e.account, err)
	}
}

// end ends a session that no configuration uses any more.
func (s *pooledSession) end() {
	ctx, cancel := context.WithTimeout(context.Background(), logoutFor)
	defer cancel()
	tok := s.End(ctx)
	s.ended.Store(true)
	if tok == nil && ctx.Err() != nil && !s.state.exiting.Load() {
		s.endLater() // a login is still under way, or what it has brought is being stored
		return
	}
	if tok != nil && tok.Stored() {
		return // other processes use it, or the next one will
	}
	if e := s.ender.Load(); e != nil && tok != nil {
		ctx, cancel := context.WithTimeout(e.values, logoutFor)
		defer cancel()
		e.logout(ctx, tok)
	}
}

// discard logs out what a login has brought that another process has done too.
func (s *pooledSession) discard(tok *tokencache.Token) {
	if e := s.ender.Load(); e != nil {
		e.end(tok)
	}
}

// lateFor is how long requests may still use a token that nobody is given any
// more: one that was replaced, and one that a grant has brought after the
// session's end.
const lateFor = 2 * time.Second

// How replaced waits: a shared storage may be slow to take the new token.
const (
	replacedEvery  = 50 * time.Millisecond
	replacedWithin = time.Minute
)

// replaced logs prev out when the token that takes its place is in use, and the
// requests that carry prev should be over. If that one turns out to be of no use,
// prev lives on.
func (s *pooledSession) replaced(e *ender, prev *tokencache.Token) {
	s.state.logouts.Go(func() {
		began := time.Now()
		for used := began; time.Since(used) < lateFor && !s.state.exiting.Load(); time.Sleep(replacedEvery) {
			if tok, _ := s.Current(time.Now()); tok != nil && tok.Access.Equal(prev.Access) {
				used = time.Now()
			}
			if time.Since(began) > replacedWithin {
				return
			}
		}
		ctx, cancel := context.WithTimeout(e.values, logoutFor)
		defer cancel()
		e.logout(ctx, prev)
	})
}

// endLater ends again a session that may get a token after its end.
func (s *pooledSession) endLater() {
	s.state.logouts.Go(func() {
		time.Sleep(lateFor)
		s.end()
	})
}
