// Reading secrets from a file system that may hang: one reader at a time, and
// nobody waits for it for long.

package caddymodule

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// readFor is how long secrets may take to be read. A reading that has taken longer
// is waited for by nobody, but no other one begins before it ends.
var readFor = 10 * time.Second

// reading has something read in a goroutine of its own: a file system that hangs
// holds no more than that. Whoever comes meanwhile joins.
type reading[T any] struct {
	mu       sync.Mutex
	underWay *readout[T]
}

// readout is what one reading brings.
type readout[T any] struct {
	began time.Time
	done  chan struct{} // closed when value and err are there
	value T
	err   error
	late  *lateError
}

// lateError says that a reading takes too long. It is the same for all that wait
// for it.
type lateError struct {
	option atomic.Value // that is being read, a string
	told   atomic.Bool  // that what was read before has to do
}

func (*lateError) Error() string {
	return "it could not be read in time, its file system does not answer"
}

// reads is told which option is read from now on.
func (e *lateError) reads(option string) {
	if e != nil {
		e.option.Store(option)
	}
}

// wait returns what a reading brings that is under way, or begins now. It waits
// no longer than ctx and readFor allow: then the error is a *secretError with a
// *lateError, or context.Canceled.
func (r *reading[T]) wait(ctx context.Context, account string, read func(*lateError) (T, error)) *readout[T] {
	r.mu.Lock()
	o := r.underWay
	if o == nil {
		o = &readout[T]{began: time.Now(), done: make(chan struct{}), late: new(lateError)}
		r.underWay = o
		go func() {
			o.value, o.err = read(o.late)
			r.mu.Lock()
			r.underWay = nil
			r.mu.Unlock()
			close(o.done)
		}()
	}
	r.mu.Unlock()
	timer := time.NewTimer(time.Until(o.began.Add(readFor)))
	defer timer.Stop()
	select {
	case <-o.done:
		return o
	case <-timer.C:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return &readout[T]{err: ctx.Err()}
		}
	}
	option, _ := o.late.option.Load().(string)
	return &readout[T]{err: &secretError{account: account, option: option, err: o.late}}
}

// readings are those of an account.
type readings struct {
	secrets, next reading[*credentials]
	health        secretHealth
	doubted       atomic.Pointer[string] // the fingerprint of secrets whose doubts were told
}

// read is resolve for one who cannot wait for ever.
func (a *Account) read(ctx context.Context) *readout[*credentials] {
	return a.readings.secrets.wait(ctx, a.Name, func(late *lateError) (*credentials, error) {
		return a.resolveAs(a.Password, false, late)
	})
}

// readNext is read with next_password in the place of password. The value is nil
// if there is none: a file that is not there, or empty, is none.
func (a *Account) readNext(ctx context.Context) *readout[*credentials] {
	return a.readings.next.wait(ctx, a.Name, func(late *lateError) (*credentials, error) {
		late.reads("next_password")
		if !filled(a.NextPassword) {
			return nil, nil //nolint:nilnil // none is no error
		}
		return a.resolveAs(a.NextPassword, true, late)
	})
}

// secrets reads those of whoever logs in.
func (s *slot) secrets(ctx context.Context) *readout[*credentials] {
	if s.guest != nil {
		began := time.Now()
		return &readout[*credentials]{began: began, value: s.guest.credentials(ctx, s.transport)}
	}
	return s.account.read(ctx)
}

// nextSecrets reads those with next_password, unless that was done a moment ago.
func (s *slot) nextSecrets(ctx context.Context, j journal) *readout[*credentials] {
	s.mu.Lock()
	recent := time.Since(s.readNext) < resolveHeldEvery
	s.mu.Unlock()
	if recent || s.account.NextPassword == "" {
		return new(readout[*credentials])
	}
	found := s.account.readNext(ctx)
	tellLate(found.err, j)
	return found
}

// wantsNext reports whether next_password has to be known to go on with c.
func (s *slot) wantsNext(c *credentials) bool {
	if current := s.current.Load(); current != nil {
		return current.next
	}
	if s.guest != nil || s.account.NextPassword == "" {
		return false
	}
	// One of the sessions that were taken over may be that of next_password.
	key := s.sessionKey(c)
	others := s.transport.sessions.others(key)
	return len(others) > 0 && !slices.ContainsFunc(others, func(other *pooledSession) bool {
		return other.key == key && usable(&login{session: other})
	})
}

// errSecretChanged says that a login was not sent because its secret has been
// replaced since it was read: the newer one is to be used.
var errSecretChanged = errors.New("the secret was replaced after it was read; the login was not sent")

// confirm makes sure that the secrets of a login are those that are configured at
// this moment, right before they are sent: between reading and sending there may be
// a queue. A file that is gone for a moment is waited for. One that stays away or
// does not answer leaves the secrets as they are.
func (s *slot) confirm(ctx context.Context, l *login) error {
	if s.guest != nil || !l.credentials.files || l.credentials.pipes || l.credentials.account.Grant == veeam.GrantAs {
		return nil // of grant as, no secret is the account's own
	}
	read := s.account.read
	if l.next {
		read = s.account.readNext
	}
	asked := time.Now()
	for looks := 0; looks < settleLooks; {
		found := read(ctx)
		_, late := errors.AsType[*lateError](found.err)
		switch {
		case late, ctx.Err() != nil:
			return ctx.Err()
		case found.err == nil && found.began.Before(asked):
			continue // somebody else's, that was under way
		case found.err == nil && found.value != nil:
			if found.value.fingerprint != l.credentials.fingerprint {
				return errSecretChanged
			}
			return nil
		}
		looks++
		select {
		case <-time.After(settleFor):
		case <-ctx.Done():
		}
	}
	return nil
}

// tellLate writes once for each reading that what was read before has to do.
func tellLate(err error, j journal) {
	if late, ok := errors.AsType[*lateError](err); ok && !late.told.Swap(true) {
		j.warn(svclog.Exception("The secrets so far are used: "+err.Error()+".", exceptionType(err)))
	}
}
