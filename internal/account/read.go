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
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// ReadTimeout is how long secrets may take to be read. A reading that has taken longer
// is waited for by nobody, but no other one begins before it ends.
const ReadTimeout = 10 * time.Second

// Reading is what one reading of an account's secrets brings.
type Reading = bounded.Result[*Secrets]

// readings are those of an account.
type readings struct {
	secrets, next bounded.Flight[*Secrets]
	health        Health
	doubted       atomic.Pointer[string] // the fingerprint of secrets whose doubts were told
}

// Health is whether the secrets can be read; nil if the account is not prepared.
func (a *Account) Health() *Health {
	if a.readings == nil {
		return nil
	}
	return &a.readings.health
}

// Reading is closed when the reading of the secrets that is under way has ended.
func (a *Account) Reading() <-chan struct{} { return a.readings.secrets.Ended() }

// NewDoubts are what is likely not meant as it is, unless that was told of these
// secrets before.
func (a *Account) NewDoubts(s *Secrets) []string {
	if len(s.Doubts) == 0 {
		return nil
	}
	if before := a.readings.doubted.Swap(&s.Fingerprint); before != nil && *before == s.Fingerprint {
		return nil
	}
	return s.Doubts
}

// Read is resolve for one who cannot wait for ever.
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

// ReadNext is read with next_password in the place of password. The value is nil
// if there is none: a file that is not there, or empty, is none.
func (a *Account) ReadNext(ctx context.Context) *Reading {
	return a.join(ctx, &a.readings.next, func(late *bounded.LateError) (*Secrets, error) {
		late.Does("next_password")
		if !filled(a.NextPassword) {
			return nil, nil //nolint:nilnil // none is no error
		}
		return a.resolveAs(a.NextPassword, true, late)
	})
}

// Fault is one that lasts: it is taken back by the next success of its kind.
type Fault struct {
	Reason veeam.Reason
	Text   string
	At     time.Time
}

// Health is whether the secrets of an account could be read.
type Health struct {
	fault  atomic.Pointer[Fault] // nil if they could
	looked atomic.Int64          // when that was found out last, unix nanoseconds
}

// Looked is when it was found out last.
func (s *Health) Looked() time.Time { return time.Unix(0, s.looked.Load()) }

// Fault is why they could not be read; nil if they could.
func (s *Health) Fault() *Fault { return s.fault.Load() }

// Took takes down what a reading has brought.
func (s *Health) Took(err error, now time.Time) {
	s.looked.Store(now.UnixNano())
	switch secretErr, ok := errors.AsType[*Error](err); {
	case ok:
		s.fault.Store(&Fault{veeam.ReasonSecretUnreadable, secretErr.Error(), now})
	case err == nil:
		s.fault.Store(nil)
	}
}
