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

// Call runs call in a goroutine of its own and returns what it brings. When ctx ends
// before, the call is left to itself and the error is that of ctx.
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

// Flight is a call that is made once at a time: whoever comes meanwhile joins. One
// that hangs holds one goroutine. The zero value is ready for use.
type Flight[T any] struct {
	mu       sync.Mutex
	underWay *Result[T]
}

// Result is what one call brings.
type Result[T any] struct {
	// Began is when the call began, zero if it was not waited for to its end.
	Began time.Time
	Value T

	// Err is the error of the call, a *LateError, or context.Canceled.
	Err error

	done chan struct{} // closed when the rest is there
	late *LateError
}

// LateError says that a call takes too long. It is the same for all that wait for the
// call.
type LateError struct {
	doing atomic.Value // a string
	told  atomic.Bool
}

func (*LateError) Error() string {
	return "it could not be read in time, its file system does not answer"
}

// Does takes down what the call does from now on. It does nothing without a receiver.
func (e *LateError) Does(what string) {
	if e != nil {
		e.doing.Store(what)
	}
}

// Doing is what the call was doing last.
func (e *LateError) Doing() string {
	what, _ := e.doing.Load().(string)
	return what
}

// Tell reports whether nobody has told of the call yet.
func (e *LateError) Tell() bool { return !e.told.Swap(true) }

// Join returns the result of the call that is under way, or of one that begins now.
// It waits until ctx ends, and no longer than most since the call began.
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

// Ended is closed when the call that is under way has ended; nil if none is.
func (f *Flight[T]) Ended() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.underWay == nil {
		return nil
	}
	return f.underWay.done
}
