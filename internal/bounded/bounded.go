// Package bounded limits the waiting time of calls that may hang: a network file system
// ignores contexts.
package bounded

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Call runs call in its own goroutine and returns its result. If ctx ends first, it
// returns ctx's error and does not wait for call, which goes on.
func Call[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := call(ctx)
		done <- outcome{value, err}
	}()
	select {
	case got := <-done:
		return got.value, got.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// Sleep waits for d. It returns ctx's error if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Flight makes one call at a time, and all who ask meanwhile share its result. A call
// that hangs holds one goroutine. The zero value is ready for use.
type Flight[T any] struct {
	mu       sync.Mutex
	underWay *Result[T]
}

// Result is the result of one call.
type Result[T any] struct {
	// Began is when the call began. It is zero if its end was not waited for.
	Began time.Time
	Value T

	// Err is the error of the call, or a *LateError if the call took too long, or
	// context.Canceled.
	Err error

	done chan struct{} // closed when the other fields are set
	late *LateError
}

// LateError says that a call takes too long. All who wait for the call get the same
// value.
type LateError struct {
	doing atomic.Value // a string
	told  atomic.Bool
}

// Error speaks of a read: the source may be a file system, a program or a vault.
func (*LateError) Error() string { return "it could not be read in time, its source does not answer" }

// Does records what the call is doing from now on. It does nothing if e is nil.
func (e *LateError) Does(what string) {
	if e != nil {
		e.doing.Store(what)
	}
}

// Doing returns what the call was doing last.
func (e *LateError) Doing() string {
	what, _ := e.doing.Load().(string)
	return what
}

// Tell reports whether it is called for the first time, so that the error is logged
// once.
func (e *LateError) Tell() bool { return !e.told.Swap(true) }

// Join returns the result of the running call, or starts call if none is running. It
// waits until ctx ends, at most for the duration most since the call began.
func (f *Flight[T]) Join(ctx context.Context, most time.Duration, call func(*LateError) (T, error)) *Result[T] {
	r := f.current(call)
	timer := time.NewTimer(time.Until(r.Began.Add(most)))
	defer timer.Stop()
	select {
	case <-r.done:
		return r
	case <-timer.C:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return &Result[T]{Err: ctx.Err()}
		}
	}
	return &Result[T]{Err: r.late}
}

func (f *Flight[T]) current(call func(*LateError) (T, error)) *Result[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.underWay != nil {
		return f.underWay
	}
	r := &Result[T]{Began: time.Now(), done: make(chan struct{}), late: new(LateError)}
	f.underWay = r
	go func() {
		r.Value, r.Err = call(r.late)
		f.mu.Lock()
		f.underWay = nil
		f.mu.Unlock()
		close(r.done)
	}()
	return r
}

// Ended returns a channel that is closed when the running call ends, or nil if none is
// running.
func (f *Flight[T]) Ended() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.underWay == nil {
		return nil
	}
	return f.underWay.done
}
