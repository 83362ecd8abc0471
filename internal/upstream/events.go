// What is told of accounts to those who react to events: each change once, although many
// requests, sessions and configurations notice it.

package upstream

import (
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// told is what was told last of an account at a server. The zero value is ready for use.
type told struct {
	mu   sync.Mutex
	held string // the fingerprint of the credential that is held
	code bool   // it waits for a verification code
	used inUse  // the secret in use
}

// inUse tells apart the secrets that requests may use.
type inUse struct {
	fingerprint string
	next        bool // it is next_password
}

// account is whom the events of a session are about, and what was told of it. It is nil
// for users that come with requests: they are no matter of the operator.
func (s *Session) account() (events.Account, *told) {
	if s.key.user != "" {
		return events.Account{}, nil
	}
	return events.Account{Product: s.key.product, Name: s.key.account, Origin: s.key.origin},
		&s.state.accounts.at(s.key.product, s.key.account, s.key.origin).told
}

// turned is tokencache.Options.Turned.
func (s *Session) turned(turn tokencache.Turn, hold *tokencache.BlockedError) {
	account, told := s.account()
	if told == nil {
		return
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	if turn == tokencache.TurnHeld {
		s.held(account, told, hold)
		return
	}
	cause := causes[turn]
	a := s.access.Load()
	replaced := turn == tokencache.TurnAccepted && (a == nil || !a.candidate.next)
	told.code = false
	if told.held == s.key.fingerprint || told.held != "" && replaced {
		told.held = ""
		s.state.Events.Emit(account.Lifted(cause))
	}
}

var causes = map[tokencache.Turn]events.Cause{
	tokencache.TurnAccepted: events.CauseAccepted, tokencache.TurnLifted: events.CauseOperator, tokencache.TurnElsewhere: events.CauseOtherProcess,
}

// held tells of a hold, unless that was told of the same credential. told.mu is held.
func (s *Session) held(account events.Account, told *told, hold *tokencache.BlockedError) {
	if hold.Suspended {
		if !told.code {
			told.code = true
			s.state.Events.Emit(account.CodeNeeded())
		}
		return
	}
	if told.held == s.key.fingerprint {
		return
	}
	told.held = s.key.fingerprint
	left := -1
	if hold.Budget.Of > 0 {
		left = hold.Budget.Left
	}
	s.state.Events.Emit(account.Held(string(veeam.ReasonOf(hold.Cause)), hold.Until, left))
}

// inUse implements candidates.
func (s *Source) inUse(l *candidate) {
	account, told := l.session.account()
	if told == nil {
		return
	}
	now := inUse{l.credentials.Fingerprint, l.next}
	told.mu.Lock()
	defer told.mu.Unlock()
	if told.used == now {
		return // another source of the account has said so
	}
	told.used = now
	if l.next {
		s.server.State.Events.Emit(account.NextInUse())
	} else {
		s.server.State.Events.Emit(account.Rotated())
	}
}
