// The secrets that an account logs in with, read for its logins.

package upstream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const (
	// SettleFor is how long changed secrets must stay the same before a request that
	// waits for them uses them. stableReads is how often they are read for that.
	SettleFor   = 100 * time.Millisecond
	stableReads = 5
)

// debounce is a changed secret that was seen once. It counts when it is seen
// again in the same files: one that is being written has changed once more by then.
type debounce struct {
	began       time.Time // of the latest reading
	fingerprint string    // of the change, empty if there is none
	files       secret.Versions
	since       time.Time
}

// noSecret stands for the fingerprint of a secret that is not there.
const noSecret = "none"

func fingerprintOf(c *account.Secrets) string {
	if c == nil {
		return noSecret
	}
	return c.Fingerprint
}

// takes reports whether a reading counts, given what counts so far. It does if it is as
// before, or has changed and is stable.
func (d *debounce) takes(found *account.Reading, before string) bool {
	now, files := fingerprintOf(found.Value), secret.Versions(nil)
	if found.Value != nil && !found.Value.Pipes { // which change when they are read
		files = found.Value.Files
	}
	d.began = found.Began
	switch {
	case now == before:
	case d.fingerprint != now, !d.files.Same(files):
		d.fingerprint, d.files, d.since = now, files, found.Began
		return false
	case found.Began.Sub(d.since) < SettleFor:
		return false
	}
	d.fingerprint = ""
	return true
}

// changing reports whether a change was seen that does not count yet.
func (d *debounce) changing() bool { return d.fingerprint != "" }

// stable returns the candidate with the secrets that are configured now. They are
// read unless that was done less than maxAge ago. While they are being written
// they are waited for, and those before count in the end.
func (s *Source) stable(ctx context.Context, maxAge time.Duration, o *cause) (*candidate, error) {
	for reads := 1; ; reads++ {
		l, stable, err := s.reread(ctx, maxAge, o)
		if stable || err != nil || reads == stableReads {
			return l, err
		}
		select {
		case <-time.After(SettleFor):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reread reads without a lock: a file system may hang.
func (s *Source) reread(ctx context.Context, maxAge time.Duration, o *cause) (l *candidate, stable bool, err error) {
	s.latest.Store(o)
	if l := s.recent(maxAge); l != nil {
		return l, true, nil
	}
	if l := s.rotation.inForce(); l != nil && s.server.sessions.gone() {
		return l, true, nil // a last request: what has changed is for the next configuration to find out
	}
	found, next := s.secrets(ctx), (*account.Reading)(nil)
	if found.Err == nil && s.requiresNext(found.Value) {
		next = s.nextSecrets(ctx, o.journal)
	}
	if s.passthrough == nil {
		s.account.Health().Took(found.Err, time.Now())
	}
	if found.Err != nil {
		return s.goOnWithout(found.Err, o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stable = s.take(found, next)
	return s.rotation.inForce(), stable, nil
}

// goOnWithout is what counts while secrets cannot be read: those before, or a session from before
// a reload.
func (s *Source) goOnWithout(err error, o *cause) (*candidate, bool, error) {
	l := s.rotation.inForce()
	if l == nil && away(err) && s.passthrough == nil {
		l = s.rotation.goOnWithout(s.account.Source())
	}
	if l == nil {
		return nil, false, err
	}
	if l.kept.Load() && !l.alive() {
		return nil, false, err
	}
	tellLate(err, o.journal)
	return l, true, nil
}

// away reports whether a file is missing or empty, as one that is being replaced, or a
// source does not answer. Other errors do not pass by themselves.
func away(err error) bool {
	_, unreadable := errors.AsType[syscall.Errno](err)
	return unreadable || errors.Is(err, secret.ErrEmpty) || errors.Is(err, secret.ErrUnavailable)
}

// recent is what is configured, if that was read less than maxAge ago.
func (s *Source) recent(maxAge time.Duration) *candidate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.read.began) < maxAge && !s.read.changing() {
		return s.rotation.inForce()
	}
	return nil
}

// take takes a reading over into the rotation, and reports whether it is stable. s.mu is
// held.
func (s *Source) take(found, next *account.Reading) bool {
	if found.Began.Before(s.read.began) {
		return !s.read.changing() // somebody has read later
	}
	before := found.Value.Fingerprint // the first reading counts
	if l := s.rotation.inForce(); l != nil {
		before = l.credentials.Fingerprint
	}
	if !s.read.takes(found, before) {
		return false
	}
	s.server.tellDoubts(s.account, found.Value)
	var follows *account.Secrets
	if next != nil {
		follows = next.Value
	}
	s.rotation.configure(found.Value, follows)
	return !s.rotation.current.Load().next || s.takeNext(next)
}

// takeNext takes a reading of next_password over, and reports whether it is stable. nil is
// none. s.mu is held.
func (s *Source) takeNext(found *account.Reading) bool {
	switch {
	case found == nil:
		return !s.nextRead.changing()
	case found.Err != nil:
		return true
	case found.Began.Before(s.nextRead.began):
		return !s.nextRead.changing()
	}
	if found.Value != nil && found.Value.Fingerprint == s.rotation.inForce().credentials.Fingerprint {
		found = &account.Reading{Began: found.Began} // it is the password already
	}
	before := noSecret
	if l := s.rotation.nextInForce(); l != nil {
		before = l.credentials.Fingerprint
	}
	if !s.nextRead.takes(found, before) {
		return false
	}
	if found.Value == nil {
		s.nextRead = debounce{} // one that comes is read at once
	}
	s.rotation.setNext(found.Value)
	return true
}

// stableNext is the candidate with next_password when it is stable, or after a short
// wait; nil if there is none.
func (s *Source) stableNext(ctx context.Context, j journal.Journal) *candidate {
	for reads := 1; ; reads++ {
		if s.server.sessions.gone() {
			return s.rotation.nextInForce()
		}
		found := s.nextSecrets(ctx, j)
		s.mu.Lock()
		stable := s.takeNext(found)
		s.mu.Unlock()
		if stable || reads == stableReads {
			return s.rotation.nextInForce()
		}
		select {
		case <-time.After(SettleFor):
		case <-ctx.Done():
			return s.rotation.nextInForce()
		}
	}
}

// changed is told that the account's secrets were read and are stable.
func (s *Source) changed(c *account.Secrets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rotation.inForce() == nil || s.rotation.isClosed() {
		return
	}
	s.read = debounce{began: time.Now()}
	s.rotation.configure(c, nil)
}

// tellDoubts warns once of secrets that are likely not what was meant, before a
// login is spent with them.
func (s *Server) tellDoubts(a *account.Account, c *account.Secrets) {
	doubts := a.NewDoubts(c)
	if len(doubts) == 0 {
		return
	}
	s.Log.Warn("a secret is probably wrong, and is sent unchanged: "+strings.Join(doubts, "; "), zap.String("account", a.Name))
}

// secrets reads those of whoever logs in.
func (s *Source) secrets(ctx context.Context) *account.Reading {
	if s.passthrough != nil {
		began := time.Now()
		return &account.Reading{Began: began, Value: s.passthrough.Read(ctx)}
	}
	return s.account.Read(ctx)
}

// nextSecrets reads those with next_password, unless that was done a moment ago or
// there are none: nil.
func (s *Source) nextSecrets(ctx context.Context, j journal.Journal) *account.Reading {
	if s.passthrough != nil || s.account.NextPassword == "" {
		return nil
	}
	s.mu.Lock()
	recent := time.Since(s.nextRead.began) < ResolveHeldEvery
	s.mu.Unlock()
	if recent {
		return nil
	}
	found := s.account.ReadNext(ctx)
	tellLate(found.Err, j)
	return found
}

// requiresNext reports whether next_password has to be known to go on with c.
func (s *Source) requiresNext(c *account.Secrets) bool {
	if current := s.rotation.current.Load(); current != nil {
		return current.next
	}
	// One of the sessions that were taken over may be that of next_password.
	key := s.sessionKey(c)
	others := s.server.sessions.others(key)
	return len(others) > 0 && !slices.ContainsFunc(others, func(other *Session) bool {
		return other.key == key && (&candidate{session: other}).usable()
	})
}

// ErrSecretChanged says that a login was not sent because its secret was replaced after
// it was read. The login is retried with the new one.
var ErrSecretChanged = &replacedError{"the secret was replaced after it was read; the login was not sent"}

// confirm makes sure that the secrets of a login are those that are configured at
// this moment, right before they are sent: between reading and sending there may be
// a queue. A file that is gone for a moment is waited for. One that stays away or
// does not answer leaves the secrets as they are.
func (s *Source) confirm(ctx context.Context, l *candidate) error {
	if s.passthrough != nil || l.credentials.Account.Grant == veeam.GrantAs {
		return nil // of grant as, no secret is the account's own
	}
	if !l.next {
		return confirmAs(ctx, s.account.Read, l.credentials, stableReads)
	}
	if l == s.rotation.current.Load() {
		return confirmAs(ctx, s.account.ReadNext, l.credentials, stableReads)
	}
	refused := s.rotation.inForce()
	if !refused.session.refused.Load() {
		return ErrSecretChanged // the password has been replaced meanwhile by one that may be right
	}
	if err := confirmAs(ctx, s.account.ReadNext, l.credentials, stableReads); err != nil {
		return err
	}
	if err := confirmAs(ctx, s.account.Read, refused.credentials, stableReads); err != nil {
		return err
	}
	// The file of the password may have been waited for.
	return confirmAs(ctx, s.account.ReadNext, l.credentials, 1)
}

// confirmAs reads up to so many times.
func confirmAs(ctx context.Context, read func(context.Context) *account.Reading, known *account.Secrets, most int) error {
	if len(known.Files) == 0 || known.Pipes {
		return nil
	}
	var none bool
	asked := time.Now()
	for reads := 1; ; {
		found := read(ctx)
		_, late := errors.AsType[*bounded.LateError](found.Err)
		switch {
		case late, ctx.Err() != nil:
			return ctx.Err()
		case found.Err == nil && found.Began.Before(asked):
			continue // somebody else's, that was under way
		case found.Err == nil && found.Value != nil:
			if found.Value.Fingerprint != known.Fingerprint {
				return ErrSecretChanged
			}
			return nil
		}
		none = found.Err == nil // next_password was removed
		if reads++; reads > most {
			// Without another wait, in which the file may come back.
			if none {
				return ErrSecretChanged
			}
			return nil
		}
		select {
		case <-time.After(SettleFor):
		case <-ctx.Done():
		}
	}
}

// tellLate writes once for each reading that what was read before has to do.
func tellLate(err error, j journal.Journal) {
	if late, ok := errors.AsType[*bounded.LateError](err); ok && late.Tell() {
		j.Warn(svclog.Exception("The previous secrets stay in use: "+err.Error()+".", journal.TypeOf(err)))
	}
}
