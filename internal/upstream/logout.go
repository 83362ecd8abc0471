// The end of upstream sessions: whatever is not needed any more is logged out,
// where the product can end one session.

package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// LogoutFor is the time limit of a logout, and how long the process waits for logouts
// before it exits.
const LogoutFor = 5 * time.Second

// logout logs a session out.
type logout struct {
	state   *State
	client  *veeam.Client
	version func() string // of the API, where the client names none
	account *veeam.Account
	values  context.Context // how to dial, see grantContext
	journal journal.Journal
	until   time.Time // the session expires; zero if it is in use

	// say tells how the session has ended, before it is struck out of the book: what a
	// killed process has not told, the next one does.
	say func(how ending)
}

// begin logs tok out in the background.
func (e *logout) begin(tok *tokencache.Token) {
	e.state.logouts.Go(func() {
		ctx, cancel := context.WithTimeout(e.values, LogoutFor)
		defer cancel()
		e.run(ctx, tok)
	})
}

// ending is how a logout has ended.
type ending int

// The endings.
const (
	endingDone   ending = iota
	endingGone          // the server did not know the session any more
	endingNever         // the product cannot end a single session
	endingFailed        // it may be tried again
)

// run logs tok out, and strikes its session out of the book unless that has failed.
func (e *logout) run(ctx context.Context, tok *tokencache.Token) ending {
	known, err := e.end(ctx, tok)
	failed, _ := errors.AsType[*veeam.Error](err)
	var how ending
	switch {
	case err == nil:
		e.journal.LoggedOut(e.account)
		if how = endingDone; !known {
			how = endingGone
		}
	case errors.Is(err, veeam.ErrNoLogout):
		how = endingNever
	case failed != nil && failed.CredentialRefused():
		how = endingGone // the server has ended it before
	default:
		e.journal.LogoutFailed(e.account, err)
		return endingFailed
	}
	e.say(how)
	tok.Note.Strike(ctx)
	return how
}

// end ends the session of tok at the server, and reports whether the server knew it.
func (e *logout) end(ctx context.Context, tok *tokencache.Token) (known bool, err error) {
	client := *e.client
	if client.APIVersion == "" && e.version != nil {
		client.APIVersion = e.version()
	}
	session := &veeam.Token{Access: tok.Access, Refresh: tok.Refresh, Grant: e.account.Grant}
	if !time.Now().Before(tok.Expires()) && tok.Renewable() && client.CanLogout() {
		// Its refresh token would keep the session alive, and only an access token
		// that is good ends both.
		longest := client.Product.LongestSession()
		asked := longest
		if !e.until.IsZero() {
			asked = time.Until(e.until) // or it would be tried for ever
		}
		tok.Note.Asking(ctx, tok, asked)
		if session, err = client.Refresh(ctx, e.account, tok.Refresh); err != nil {
			return false, err
		}
		tok.Note.Keep(ctx, cached(session), longest)
	}
	return client.End(ctx, session)
}

// end ends a session that no configuration uses any more.
func (s *Session) end() {
	ctx, cancel := context.WithTimeout(context.Background(), LogoutFor)
	defer cancel()
	tok := s.End(ctx)
	s.ended.Store(true)
	if tok == nil && ctx.Err() != nil && !s.state.exiting.Load() {
		s.logoutLater() // a login is still under way, or what it has brought is being stored
		return
	}
	if tok != nil && tok.Stored() {
		return // other processes use it, or the next one will
	}
	if e := s.ender.Load(); e != nil && tok != nil {
		ctx, cancel := context.WithTimeout(e.values, LogoutFor)
		defer cancel()
		e.logout().run(ctx, tok)
	}
}

// discard logs out what a login has brought that another process has done too.
func (s *Session) discard(tok *tokencache.Token) {
	if e := s.ender.Load(); e != nil {
		e.logout().begin(tok)
	}
}

// LateFor is how long requests may still use a token that is not handed out any more:
// one that was replaced, or one that a grant got after the end of its session.
const LateFor = 2 * time.Second

// How replaced waits: a shared storage may be slow to take the new token.
const (
	ReplacedEvery  = 50 * time.Millisecond
	replacedWithin = time.Minute
)

// replaced logs prev out when the token that takes its place is in use, and the
// requests that carry prev should be over. If that one turns out to be of no use,
// prev lives on.
func (s *Session) replaced(e *access, prev *tokencache.Token) {
	s.background(func() {
		began := time.Now()
		for used := began; time.Since(used) < LateFor && !s.state.exiting.Load(); time.Sleep(ReplacedEvery) {
			if tok, _ := s.Current(time.Now()); tok != nil && tok.Access.Equal(prev.Access) {
				used = time.Now()
			}
			if time.Since(began) > replacedWithin {
				return
			}
		}
		ctx, cancel := context.WithTimeout(e.values, LogoutFor)
		defer cancel()
		e.logout().run(ctx, prev)
	})
}

// logoutLater ends again a session that may get a token after its end.
func (s *Session) logoutLater() {
	s.background(func() {
		time.Sleep(LateFor)
		s.end()
	})
}

// background runs a logout, for which the stores of the books stay attached.
func (s *Session) background(logout func()) {
	release := s.state.books.hold()
	s.state.logouts.Go(func() {
		defer release()
		logout()
	})
}
