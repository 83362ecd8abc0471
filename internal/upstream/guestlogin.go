// Guests: who logs in with a credential of its own in the place of an account.

package upstream

import (
	"context"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// Guest is who logs in with a credential of its own in the place of an account.
type Guest struct {
	// User is the name of the user.
	User string

	// Read returns the credential.
	Read func(context.Context) *account.Secrets
}

// NewGuest returns a source for a guest that the server has not seen yet. Keep has it
// found. a stands for guests in metrics and lists, id tells them apart.
func (s *Server) NewGuest(p Place, a *account.Account, id string, guest *Guest) *Source {
	source := s.newSource(sourceKey{account: a.Name, Address: p.Address, user: id}, a, p)
	source.guest = guest
	return source
}

// Guest returns the source of a guest, which ends when nobody has used it for idle, and
// with the guest's login.
func (s *Server) Guest(at Address, a *account.Account, id string, guest *Guest, idle time.Duration, until time.Time, place func() Place) *Source {
	key := sourceKey{account: a.Name, Address: at, user: id}
	source, added := s.sessions.userSource(key, func() *Source { return s.NewGuest(place(), a, id, guest) })
	if added {
		source.watchIdle(idle, until)
	}
	return source
}

// First logs a guest in. A session comes of that only if it succeeds: what the server
// refuses leaves nothing behind.
func (s *Source) First(ctx context.Context, values context.Context, j journal.Journal) (*tokencache.Token, error) {
	l, _, err := s.reread(ctx, 0, cause{values: values, journal: j})
	if err != nil {
		return nil, err
	}
	// Not by the session yet, which a cache may share.
	tok, err := s.granter(values, l, j).get(ctx, nil)
	if err == nil {
		tok, err = l.session.Get(ctx, func(context.Context, *tokencache.Token) (*tokencache.Token, error) { return tok, nil })
	}
	if err != nil {
		s.evict()
		return nil, err
	}
	return tok, nil
}

// Keep has the source found by Guest from now on, if none is found so far.
func (s *Source) Keep(idle time.Duration, until time.Time) {
	s.server.sessions.users.PeekOrAdd(s.key, s)
	s.watchIdle(idle, until)
}

// watchIdle ends the session of a guest that has not been used for a while, and that of
// one whose login has ended.
func (s *Source) watchIdle(idle time.Duration, until time.Time) {
	users := s.server.sessions.users
	var look func()
	look = func() {
		if now, ok := users.Peek(s.key); !ok || now != s {
			return
		}
		now := time.Now()
		left := min(idle-now.Sub(s.lastUsed()), until.Sub(now))
		switch {
		case s.server.sessions.gone():
		case left > 0:
			time.AfterFunc(left, look)
			return
		case !now.Before(until):
			s.logout()
		}
		users.Remove(s.key)
	}
	time.AfterFunc(min(idle, time.Until(until)), look)
}

// logout ends the session at the server, also one that a cache has.
func (s *Source) logout() {
	if l := s.rotation.current.Load(); l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), LogoutFor)
		defer cancel()
		_ = l.session.Logout(ctx)
	}
}
