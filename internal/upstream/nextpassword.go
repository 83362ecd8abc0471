// The password that is to follow, and what is said about secrets that are tried.

package upstream

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// nextHold is how long a refused next_password is held at first. Both passwords
// are held then, and afterwards both may be tried: so much longer that the server
// gets no more wrong ones than of one password alone.
func nextHold(least time.Duration, shared bool) time.Duration {
	if shared {
		return 2 * cmp.Or(least, tokencache.DefaultHoldShared)
	}
	return 5 * cmp.Or(least, tokencache.DefaultHoldLeast)
}

// nextLogin is the login with next_password, nil if there is none, and whether it
// may be used: not while its file is being written.
func (s *Source) nextLogin(found *account.Reading) (l *candidate, settled bool) {
	resolved := found.Value
	switch {
	case found.Err != nil:
		return s.next, true
	case resolved == nil || found.Began.Before(s.readNext):
		return s.next, s.changingNext.fingerprint == ""
	}
	s.readNext = found.Began
	before := s.next
	switch {
	case resolved.Fingerprint == s.configured.credentials.Fingerprint:
		s.changingNext = debounce{}
		return nil, true
	case before != nil && before.credentials.Fingerprint == resolved.Fingerprint:
		s.changingNext = debounce{}
		return before, true
	case before != nil && !s.changingNext.stable(resolved.Fingerprint, found.Began):
		return before, false
	}
	s.changingNext = debounce{}
	s.next = s.login(resolved, true)
	if before != nil {
		before.kept.Store(true)
		s.drop(before)
	}
	return s.next, true
}

// settledNext is nextLogin when it is settled, or after a short wait.
func (s *Source) settledNext(ctx context.Context, j journal.Journal) *candidate {
	for looks := 1; ; looks++ {
		found := s.nextSecrets(ctx, j)
		s.mu.Lock()
		l, settled := s.nextLogin(found)
		s.mu.Unlock()
		if settled || looks == settleLooks {
			return l
		}
		select {
		case <-time.After(SettleFor):
		case <-ctx.Done():
			return l
		}
	}
}

// attemptNext tries next_password, because the password that is configured is
// refused. If both are, both are held for as long.
func (s *Source) attemptNext(ctx context.Context, configured *candidate, cause error, o cause) (*candidate, *tokencache.Token, error) {
	next := s.settledNext(ctx, o.journal)
	if next == nil {
		return configured, nil, cause
	}
	tok, err := s.get(ctx, next, o)
	if err == nil {
		s.use(next)
	}
	if !isHeld(err) {
		return next, tok, err
	}
	var first, second *tokencache.BlockedError
	if errors.As(cause, &first) && errors.As(err, &second) && first.Until.Before(second.Until) {
		_ = configured.session.Extend(context.WithoutCancel(ctx), second.Until)
		cause = &tokencache.BlockedError{Cause: first.Cause, Until: second.Until, Held: true}
	}
	return configured, nil, cause
}

// accepted says that requests use another secret from now on.
func (s *Source) accepted(l, before *candidate, j journal.Journal) {
	text, result := "The changed secret of account '"+s.account.Name+"' ("+l.credentials.Changed(before.credentials)+") is accepted and in use.", metrics.SecretAccepted
	if l.next {
		text, result = "The password of account '"+s.account.Name+"' is refused, next_password is in use.", metrics.SecretNextAccepted
	}
	s.server.countSecret(s.account, result)
	j.Info(svclog.Exception(text, ""))
}

// refused says that the server refuses a secret that was tried in the place of
// another one.
func (s *Source) refused(l *candidate, j journal.Journal) {
	text, result := "The server refuses the changed secret of account '"+s.account.Name+"' ("+l.credentials.Changed(s.current.Load().credentials)+
		"). The session so far serves on as long as it can be renewed.", metrics.SecretRefused
	if l.next {
		text, result = "The server refuses next_password of account '"+s.account.Name+"', and the password too. Neither is sent until a pause is over.", metrics.SecretNextRefused
	}
	s.server.countSecret(s.account, result)
	j.Warn(svclog.Exception(text, ""))
}

func (s *Server) countSecret(a *account.Account, result string) {
	s.Metrics.Secrets.WithLabelValues(s.Product.Name, a.Name, result).Inc()
}

func isHeld(err error) bool {
	blocked, ok := errors.AsType[*tokencache.BlockedError](err)
	return ok && blocked.Held
}

// passwordRefused reports whether another password may help where the credential
// was refused.
func passwordRefused(err error) bool {
	if failed, ok := errors.AsType[*veeam.Error](err); ok && (failed.Kind != veeam.KindRefused || failed.Grant == veeam.GrantMFA) {
		return false
	}
	return isHeld(err)
}
