// The end of upstream sessions: whatever is not needed any more is logged out,
// where the product can end one session.

package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/tokencache"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// logoutFor bounds a logout, and with it how long the process waits for logouts
// before it exits.
const logoutFor = 5 * time.Second

// endings are the logouts under way. The process waits for them when it exits.
var endings sync.WaitGroup

func waitForEndings(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		endings.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(logoutFor):
	}
}

// ender logs a session out. It is what the last login of a session leaves behind.
type ender struct {
	client  *veeam.Client
	account *veeam.Account
	values  context.Context // how to dial, see grantContext
	journal journal
}

// end logs tok out in the background.
func (e *ender) end(tok *tokencache.Token) {
	endings.Go(func() {
		ctx, cancel := context.WithTimeout(e.values, logoutFor)
		defer cancel()
		e.logout(ctx, tok)
	})
}

func (e *ender) logout(ctx context.Context, tok *tokencache.Token) {
	session := &veeam.Token{Access: tok.Access, Refresh: tok.Refresh, Grant: e.account.Grant}
	var err error
	if !time.Now().Before(tok.Expires()) && tok.Renewable() && e.client.Product.SessionLogout != nil {
		// Its refresh token would keep the session alive, and only an access token
		// that is good ends both.
		if session, err = e.client.Refresh(ctx, e.account, tok.Refresh); err == nil {
			err = e.client.Logout(ctx, session)
		}
	} else {
		err = e.client.Logout(ctx, session)
	}
	var failed *veeam.Error
	switch {
	case err == nil:
		e.journal.loggedOut(e.account)
	case errors.Is(err, veeam.ErrNoLogout):
	case errors.As(err, &failed) && failed.CredentialRefused():
		// The server has ended it before.
	default:
		e.journal.logoutFailed(e.account, err)
	}
}

// Destruct implements caddy.Destructor: the last configuration that used the
// session is gone.
func (s *pooledSession) Destruct() error {
	endings.Go(s.end)
	return nil
}

func (s *pooledSession) end() {
	ctx, cancel := context.WithTimeout(context.Background(), logoutFor)
	defer cancel()
	tok := s.End(ctx)
	s.ended.Store(true)
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

// lateFor is how long the last requests of a replaced configuration may use the
// token that a grant has brought after the session's end.
const lateFor = 2 * time.Second

// endLater ends again a session that has got a token after its end.
func (s *pooledSession) endLater() {
	endings.Go(func() {
		time.Sleep(lateFor)
		s.end()
	})
}
