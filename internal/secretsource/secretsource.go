// Package secretsource reads secrets where they are kept: by running a program, and from
// the KV engine of HashiCorp Vault or OpenBao.
//
// A value that was read is used again for a short time, so that the options of an account
// that come from one place are read together, and a held account asks rarely. After a
// refused login it is read again. Errors say nothing of a value.
package secretsource

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Limits of both sources.
const (
	// DefaultTimeout is how long a read takes at most, and MaxTimeout the longest that
	// can be configured: it is shorter than the time limit of all secrets of an account.
	DefaultTimeout = 5 * time.Second
	MaxTimeout     = 9 * time.Second

	// DefaultMaxAge is how long a value is used again.
	DefaultMaxAge = 10 * time.Second
	MaxMaxAge     = time.Hour

	// least is the shortest time that can be configured for either.
	least = 100 * time.Millisecond

	// failureAge is how long an error is the answer to further reads.
	failureAge = time.Second
)

// recent reads values by name, and keeps each for a while. Reads of one name wait for
// each other.
type recent[T any] struct {
	maxAge, timeout time.Duration
	read            func(ctx context.Context, name string) (T, error)

	mu      sync.Mutex
	entries map[string]*entry[T]
}

type entry[T any] struct {
	mu       sync.Mutex
	read     bool
	at       time.Time
	refusals uint64
	value    T
	err      error
}

// maxEntries bounds how many names are remembered; a configuration has fewer.
const maxEntries = 1000

func (r *recent[T]) get(name string) (T, error) {
	r.mu.Lock()
	e := r.entries[name]
	if e == nil {
		if r.entries == nil || len(r.entries) >= maxEntries {
			r.entries = map[string]*entry[T]{}
		}
		e = new(entry[T])
		r.entries[name] = e
	}
	r.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	age := r.maxAge
	if e.err != nil {
		age = min(age, failureAge)
	}
	refusals := secret.Refusals()
	if e.read && time.Since(e.at) < age && (e.err != nil || e.refusals == refusals) {
		return e.value, e.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	e.value, e.err = r.read(ctx, name)
	e.read, e.at, e.refusals = true, time.Now(), refusals
	return e.value, e.err
}

// CheckTimes returns an error if the time limits of a source are not allowed. Zero means
// the default.
func CheckTimes(timeout, maxAge time.Duration) error {
	if err := cmp.Or(policy.CheckLeast("timeout", timeout, least), policy.CheckLeast("max_age", maxAge, least)); err != nil {
		return err
	}
	switch {
	case timeout > MaxTimeout:
		return fmt.Errorf("timeout %v: it must be at most %v", timeout, MaxTimeout)
	case maxAge > MaxMaxAge:
		return fmt.Errorf("max_age %v: it must be at most %v", maxAge, MaxMaxAge)
	}
	return nil
}

// passing is an error that may pass by itself.
type passing struct{ error }

func (e passing) Unwrap() error { return e.error }

// Is tells that the source is not available.
func (passing) Is(target error) bool { return target == secret.ErrUnavailable }

// absent is the error of a secret that its source does not have.
type absent string

func (e absent) Error() string { return string(e) }

// Is tells that there is no such secret.
func (absent) Is(target error) bool { return target == secret.ErrAbsent }
