// Reading secrets from a file system that may hang: one reader at a time, and
// nobody waits for it for long.

package caddymodule

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

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
