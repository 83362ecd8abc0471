// Locks that several processes share, including locks left behind by a killed process.

package store

import (
	"context"
	"time"
)

// Locker has locks by name. certmagic.Storage, Caddy's storage, has these methods.
type Locker interface {
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

// Time limits of locks.
const (
	// For is how long to wait for a lock. A lock that was left behind is stale after
	// ten seconds.
	For = 15 * time.Second

	// Section is the maximum time from the lock to the start of the write. After it
	// another process may have the lock, and nothing may be written.
	Section = 4 * time.Second

	// Abandoned is the time after which a lock that is not released counts as left
	// behind: Section, the time of the write and a second.
	Abandoned = 8 * time.Second

	unlockFor   = 3 * time.Second
	glanceEvery = 100 * time.Millisecond
)

// Lock waits for a lock, at most for the duration For. certmagic checks once a second
// whether a lock is free. glance, which may be nil, is called now and then meanwhile.
// If it returns true, the wait ends without the lock. A lock that counts as Abandoned
// is removed, because with a file storage the processes that had it in the last seconds
// keep it fresh as long as they run.
func Lock(ctx context.Context, locker Locker, name string, glance func() bool) (locked bool, err error) {
	abandoned := time.NewTimer(Abandoned)
	defer abandoned.Stop()
	return lock(ctx, locker, name, glance, abandoned.C)
}

// LockOnly is Lock without the removal of abandoned locks. It is for what must happen once
// at most: somebody who is slow may have the lock. If nobody releases it, the error is that
// of a context that has ended.
func LockOnly(ctx context.Context, locker Locker, name string) error {
	_, err := lock(ctx, locker, name, nil, nil)
	return err
}

func lock(ctx context.Context, locker Locker, name string, glance func() bool, abandoned <-chan time.Time) (locked bool, err error) {
	within, cancel := context.WithTimeout(ctx, For)
	defer cancel()
	attempt, giveUp := context.WithCancel(within)
	defer giveUp()
	done := try(attempt, within, locker, name)
	ticker := time.NewTicker(glanceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-abandoned:
			// The lock may have been acquired at this moment, and must not be removed
			// then.
			giveUp()
			select {
			case err := <-done:
				if err == nil {
					return true, nil
				}
			case <-within.Done():
				return false, within.Err()
			}
			Unlock(ctx, locker, name)
			done = try(within, within, locker, name)
		case err := <-done:
			return err == nil, err
		case <-within.Done():
			return false, within.Err()
		case <-ticker.C:
			if glance != nil && glance() {
				return false, nil
			}
		}
	}
}

// try acquires a lock until ctx ends, and sends the result. A lock that it gets after
// the wait has ended is released.
func try(ctx, waiting context.Context, locker Locker, name string) <-chan error {
	done := make(chan error)
	go func() {
		err := locker.Lock(ctx, name)
		select {
		case done <- err:
		case <-waiting.Done():
			if err == nil {
				Unlock(ctx, locker, name)
			}
		}
	}()
	return done
}

// Unlock releases a lock, even if ctx has ended. If that fails, the lock is left
// behind.
func Unlock(ctx context.Context, locker Locker, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockFor)
	defer cancel()
	_ = locker.Unlock(ctx, name)
}
