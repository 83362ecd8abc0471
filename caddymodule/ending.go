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
	err := e.client.Logout(ctx, &veeam.Token{Access: tok.Access, Refresh: tok.Refresh, Grant: e.account.Grant})
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
	endings.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), logoutFor)
		defer cancel()
		tok := s.End(ctx)
		if e := s.ender.Load(); e != nil && tok != nil {
			ctx, cancel := context.WithTimeout(e.values, logoutFor)
			defer cancel()
			e.logout(ctx, tok)
		}
	})
	return nil
}
