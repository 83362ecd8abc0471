// The secrets that an account logs in with, read for its logins.

package upstream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// tellDoubts warns once of secrets that are likely not what was meant, before a
// login is spent with them.
func (s *Server) tellDoubts(a *account.Account, c *account.Secrets) {
	doubts := a.NewDoubts(c)
	if len(doubts) == 0 {
		return
	}
	s.Log.Warn("a secret is probably wrong, and is sent as is: "+strings.Join(doubts, "; "), zap.String("account", a.Name))
}

// secrets reads those of whoever logs in.
func (s *Source) secrets(ctx context.Context) *account.Reading {
	if s.guest != nil {
		began := time.Now()
		return &account.Reading{Began: began, Value: s.guest.Read(ctx)}
	}
	return s.account.Read(ctx)
}

// nextSecrets reads those with next_password, unless that was done a moment ago.
func (s *Source) nextSecrets(ctx context.Context, j journal.Journal) *account.Reading {
	s.mu.Lock()
	recent := time.Since(s.readNext) < ResolveHeldEvery
	s.mu.Unlock()
	if recent || s.account.NextPassword == "" {
		return new(account.Reading)
	}
	found := s.account.ReadNext(ctx)
	tellLate(found.Err, j)
	return found
}

// wantsNext reports whether next_password has to be known to go on with c.
func (s *Source) wantsNext(c *account.Secrets) bool {
	if current := s.current.Load(); current != nil {
		return current.next
	}
	if s.guest != nil || s.account.NextPassword == "" {
		return false
	}
	// One of the sessions that were taken over may be that of next_password.
	key := s.sessionKey(c)
	others := s.server.sessions.others(key)
	return len(others) > 0 && !slices.ContainsFunc(others, func(other *Session) bool {
		return other.key == key && usable(&candidate{session: other})
	})
}

// ErrSecretChanged says that a login was not sent because its secret has been
// replaced since it was read: the newer one is to be used.
var ErrSecretChanged = &replacedError{"the secret was replaced after it was read; the login was not sent"}

// confirm makes sure that the secrets of a login are those that are configured at
// this moment, right before they are sent: between reading and sending there may be
// a queue. A file that is gone for a moment is waited for. One that stays away or
// does not answer leaves the secrets as they are.
func (s *Source) confirm(ctx context.Context, l *candidate) error {
	if s.guest != nil || !l.credentials.Files || l.credentials.Pipes || l.credentials.Account.Grant == veeam.GrantAs {
		return nil // of grant as, no secret is the account's own
	}
	read := s.account.Read
	if l.next {
		read = s.account.ReadNext
	}
	asked := time.Now()
	for looks := 0; looks < settleLooks; {
		found := read(ctx)
		_, late := errors.AsType[*bounded.LateError](found.Err)
		switch {
		case late, ctx.Err() != nil:
			return ctx.Err()
		case found.Err == nil && found.Began.Before(asked):
			continue // somebody else's, that was under way
		case found.Err == nil && found.Value != nil:
			if found.Value.Fingerprint != l.credentials.Fingerprint {
				return ErrSecretChanged
			}
			return nil
		}
		looks++
		select {
		case <-time.After(SettleFor):
		case <-ctx.Done():
		}
	}
	return nil
}

// tellLate writes once for each reading that what was read before has to do.
func tellLate(err error, j journal.Journal) {
	if late, ok := errors.AsType[*bounded.LateError](err); ok && late.Tell() {
		j.Warn(svclog.Exception("The secrets so far are used: "+err.Error()+".", journal.TypeOf(err)))
	}
}
