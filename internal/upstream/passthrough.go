// Users that log in with their own credential in place of an account.

package upstream

import (
	"context"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// Passthrough is a user that logs in with its own credential in place of an account.
type Passthrough struct {
	// User is the name of the user.
	User string

	// Read returns the credential. Its error, if any, is in the result.
	Read func(context.Context) *account.Secrets
}

// NewPassthroughSource returns a source for a user that has not logged in yet. id tells
// users apart, a stands for all of them in metrics and lists. PassthroughSource does not
// return it before Keep was called.
func (s *Server) NewPassthroughSource(p Place, a *account.Account, id string, user *Passthrough) *Source {
	source := s.newSource(sourceKey{account: a.Name, Address: p.Address, user: id}, a, p)
	source.passthrough = user
	return source
}

// PassthroughSource returns the source of a user that has logged in, and makes it if
// there is none. The source ends when it was not used for idle, and at until, when the
// login ends.
func (s *Server) PassthroughSource(at Address, a *account.Account, id string, user *Passthrough, idle time.Duration, until time.Time, place func() Place) *Source {
	key := sourceKey{account: a.Name, Address: at, user: id}
	source, added := s.sessions.userSource(key, func() *Source { return s.NewPassthroughSource(place(), a, id, user) })
	if added {
		source.watchIdle(idle, until)
	}
	return source
}

// First logs a passthrough user in for the first time. Only a login that succeeds makes a
// session: one that the server refuses leaves nothing behind.
func (s *Source) First(ctx context.Context, values context.Context, j journal.Journal) (*tokencache.Token, error) {
	o := &cause{values: values, journal: j}
	l, _, err := s.reread(ctx, 0, o)
	if err != nil {
		return nil, err
	}
	// Not through the session yet, because a cache may share it.
	tok, err := s.granter(l, o).get(ctx, nil)
	if err != nil {
		s.evict()
		return nil, err
	}
	kept, err := l.session.Get(ctx, func(context.Context, *tokencache.Token) (*tokencache.Token, error) { return tok, nil })
	if err != nil {
		s.evict()
		return nil, err
	}
	if !kept.Access.Equal(tok.Access) {
		l.session.discard(tok) // of a login that was forgotten, the session goes on
	}
	return kept, nil
}

// Keep makes PassthroughSource return s from now on. A source of this user that it has
// already is from before the login: it has the same session, but cannot log in again.
func (s *Source) Keep(idle time.Duration, until time.Time) {
	s.server.sessions.users.Add(s.key, s)
	s.watchIdle(idle, until)
}

// watchIdle ends the session of a passthrough user when it was not used for idle, and at
// until, when the login ends.
func (s *Source) watchIdle(idle time.Duration, until time.Time) {
	users := s.server.sessions.users
	var check func()
	check = func() {
		if now, ok := users.Peek(s.key); !ok || now != s {
			return
		}
		now := time.Now()
		left := min(idle-now.Sub(s.lastUsed()), until.Sub(now))
		switch {
		case s.server.sessions.gone():
		case left > 0:
			time.AfterFunc(left, check)
			return
		case !now.Before(until):
			s.logout()
		}
		users.Remove(s.key)
	}
	time.AfterFunc(min(idle, time.Until(until)), check)
}

// logout ends the session at the server, also one that is in a cache.
func (s *Source) logout() {
	if l := s.rotation.current.Load(); l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), LogoutFor)
		defer cancel()
		_ = l.session.Logout(ctx)
	}
}
