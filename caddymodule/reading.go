// Reading secrets from a file system that may hang: one reader at a time, and
// nobody waits for it for long.

package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// readFor is how long secrets may take to be read. A reading that has taken longer
// is waited for by nobody, but no other one begins before it ends.
const readFor = 10 * time.Second

// readout is what one reading of an account's secrets brings.
type readout = bounded.Result[*credentials]

// readings are those of an account.
type readings struct {
	secrets, next bounded.Flight[*credentials]
	health        secretHealth
	doubted       atomic.Pointer[string] // the fingerprint of secrets whose doubts were told
}

// read is resolve for one who cannot wait for ever.
func (a *Account) read(ctx context.Context) *readout {
	return a.join(ctx, &a.readings.secrets, func(late *bounded.LateError) (*credentials, error) {
		return a.resolveAs(a.Password, false, late)
	})
}

// join has secrets read. The error of a reading that takes too long is a
// *secretError.
func (a *Account) join(ctx context.Context, flight *bounded.Flight[*credentials], read func(*bounded.LateError) (*credentials, error)) *readout {
	found := flight.Join(ctx, cmp.Or(a.env.ReadTimeout, readFor), read)
	if late, ok := errors.AsType[*bounded.LateError](found.Err); ok {
		return &readout{Err: &secretError{account: a.Name, option: late.Doing(), err: late}}
	}
	return found
}

// readNext is read with next_password in the place of password. The value is nil
// if there is none: a file that is not there, or empty, is none.
func (a *Account) readNext(ctx context.Context) *readout {
	return a.join(ctx, &a.readings.next, func(late *bounded.LateError) (*credentials, error) {
		late.Does("next_password")
		if !filled(a.NextPassword) {
			return nil, nil //nolint:nilnil // none is no error
		}
		return a.resolveAs(a.NextPassword, true, late)
	})
}

// failure is one that lasts: it is taken back by the next success of its kind.
type failure struct {
	reason veeam.Reason
	text   string
	at     time.Time
}

// secretHealth is whether the secrets of an account could be read.
type secretHealth struct {
	fault  atomic.Pointer[failure] // nil if they could
	looked atomic.Int64            // when that was found out last, unix nanoseconds
}

// read takes down what a reading has brought.
func (s *secretHealth) read(err error, now time.Time) {
	s.looked.Store(now.UnixNano())
	switch secretErr, ok := errors.AsType[*secretError](err); {
	case ok:
		s.fault.Store(&failure{veeam.ReasonSecretUnreadable, secretErr.Error(), now})
	case err == nil:
		s.fault.Store(nil)
	}
}
