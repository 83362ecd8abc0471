// What a rotation requires of its source: sessions, and logins in the background.

package upstream

import (
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// open implements candidates.
func (s *Source) open(c *account.Secrets, next bool) *candidate {
	if s.key.user != "" && s.passthrough == nil {
		own, account := *c, *c.Account // others have joined the reading, for other users
		account.UserUID = s.key.user
		own.Account, c = &account, &own
	}
	sessions := s.server.sessions
	key, options := s.sessionKey(c), sessions.options
	if next {
		options.HoldLeast = nextHold(options.HoldLeast, key.cache != "")
	}
	options = s.server.cached(options, key, s.account.GrantType(), c.Digest)
	if g := s.guard(c, journal.Journal{}); g != nil {
		options.Budget, options.LookAtBudget = g.Budget, g.LookAtBudget
	}
	l := &candidate{credentials: c, next: next, session: sessions.hold(key, options)}
	l.session.Adapt(options) // it may be that of the configuration before
	l.session.sources.add(c)
	return l
}

// drop implements candidates.
func (s *Source) drop(l *candidate) { s.server.sessions.drop(l.session) }

// inherited implements candidates. The sessions of a passthrough user are those of other
// clients, so there are none.
func (s *Source) inherited(source string) (found []*candidate) {
	if s.passthrough != nil {
		return nil
	}
	for _, session := range s.server.sessions.others(s.sessionKey(&account.Secrets{})) {
		if c := session.sources.of(source); c != nil {
			found = append(found, &candidate{session: session, credentials: c})
		}
	}
	return found
}

// dropInherited implements candidates.
func (s *Source) dropInherited(l *candidate) { s.server.sessions.dropOthers(l.session.key) }

// try implements candidates.
func (s *Source) try(l *candidate) {
	watch, latest := s.server.watch, s.latest.Load()
	o := &cause{values: tracing.Without(latest.values), journal: latest.journal.Detached()}
	go func() {
		_, err := s.get(watch.ctx, l, o)
		until := time.Time{}
		if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok {
			until = blocked.Until
		}
		s.rotation.ended(l, until)
	}()
}

// watch implements candidates.
func (s *Source) watch() { s.server.watch.await() }

// mayTry implements candidates: the session with which an account serves others waits
// for what the account's own finds out about the same secret. A wrong one is not
// sent for both.
func (s *Source) mayTry(l *candidate) bool {
	if !s.key.parent {
		return true
	}
	key := s.key
	key.parent = false
	sibling := s.server.sessions.sources.get(key)
	if sibling == nil {
		return true
	}
	configured := sibling.rotation.inForce()
	current := sibling.rotation.current.Load()
	switch {
	case configured == nil || !current.usable():
		return true
	case configured.credentials.Fingerprint != l.credentials.Fingerprint:
		return false // not told yet
	case configured == current:
		return true
	}
	if configured.session.refused.Load() {
		l.session.refused.Store(true)
	}
	return false
}

// Interface guards
var _ candidates = (*Source)(nil)
