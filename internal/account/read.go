// Reading secrets from a file system that may hang: one reader at a time, and
// nobody waits for it for long.

package account

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// ReadTimeout is the default time limit of reading secrets. A read that exceeds it is
// abandoned, but no other one starts before it ends.
const ReadTimeout = 10 * time.Second

// Reading is the result of reading an account's secrets once.
type Reading = bounded.Result[*Secrets]

// readings are those of an account.
type readings struct {
	secrets, next bounded.Flight[*Secrets]
	health        Health
	doubted       atomic.Pointer[string] // the fingerprint of secrets whose doubts were told
}

// Health reports whether the secrets can be read; nil if the account is not prepared.
func (a *Account) Health() *Health {
	if a.readings == nil {
		return nil
	}
	return &a.readings.health
}

// Reading returns a channel that is closed when the current read of the secrets has
// ended.
func (a *Account) Reading() <-chan struct{} { return a.readings.secrets.Ended() }

// NewDoubts returns the doubts about probably wrong secrets, unless they were returned
// before.
func (a *Account) NewDoubts(s *Secrets) []string {
	if len(s.Doubts) == 0 {
		return nil
	}
	if before := a.readings.doubted.Swap(&s.Fingerprint); before != nil && *before == s.Fingerprint {
		return nil
	}
	return s.Doubts
}

// Read is Resolve with a time limit.
func (a *Account) Read(ctx context.Context) *Reading {
	return a.join(ctx, &a.readings.secrets, func(late *bounded.LateError) (*Secrets, error) {
		return a.resolveAs(a.Password, false, late)
	})
}

// join has secrets read. The error of a reading that takes too long is a
// *secretError.
func (a *Account) join(ctx context.Context, flight *bounded.Flight[*Secrets], read func(*bounded.LateError) (*Secrets, error)) *Reading {
	found := flight.Join(ctx, cmp.Or(a.env.ReadTimeout, ReadTimeout), read)
	if late, ok := errors.AsType[*bounded.LateError](found.Err); ok {
		return &Reading{Err: &Error{Account: a.Name, Option: late.Doing(), Err: late}}
	}
	return found
}

// ReadNext is Read with next_password in place of password. The value is nil if there
// is none: a missing or empty file is none, and a secret that its source does not have.
func (a *Account) ReadNext(ctx context.Context) *Reading {
	return a.join(ctx, &a.readings.next, func(late *bounded.LateError) (*Secrets, error) {
		late.Does("next_password")
		if !filled(a.NextPassword) {
			return nil, nil //nolint:nilnil // none is no error
		}
		found, err := a.resolveAs(a.NextPassword, true, late)
		if failed, ok := errors.AsType[*Error](err); ok && failed.Option == "next_password" && errors.Is(err, secret.ErrAbsent) {
			return nil, nil //nolint:nilnil // none is no error
		}
		return found, err
	})
}

// Fault is a fault that lasts until the next success of its kind.
type Fault struct {
	Reason veeam.Reason
	Text   string
	At     time.Time
}

// Health reports whether the secrets of an account could be read.
type Health struct {
	fault  atomic.Pointer[Fault] // nil if they could
	looked atomic.Int64          // when that was found out last, unix nanoseconds
}

// Looked is the time of the last read.
func (s *Health) Looked() time.Time { return time.Unix(0, s.looked.Load()) }

// Fault is the reason of a failed read; nil after a successful one.
func (s *Health) Fault() *Fault { return s.fault.Load() }

// Took records the result of a read.
func (s *Health) Took(err error, now time.Time) {
	s.looked.Store(now.UnixNano())
	switch secretErr, ok := errors.AsType[*Error](err); {
	case ok:
		s.fault.Store(&Fault{veeam.ReasonSecretUnreadable, secretErr.Error(), now})
	case err == nil:
		s.fault.Store(nil)
	}
}
