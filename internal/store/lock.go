// Locks that several processes share, also those that a killed process has left
// behind.

package store

import (
	"context"
	"time"
)

// Locker has locks by name. certmagic.Storage, which is Caddy's storage, has
// these methods.
type Locker interface {
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

// Bounds of what is done with a lock.
const (
	// For is how long to wait for a lock: one that was left behind is stale after
	// ten seconds.
	For = 15 * time.Second

	// Section is the longest time from the lock to the beginning of the write.
	// Afterwards the lock may be somebody else's, and nothing may be written.
	Section = 4 * time.Second

	// Abandoned is when a lock that cannot be had counts as left behind: Section,
	// the write and a second.
	Abandoned = 8 * time.Second

	unlockFor   = 3 * time.Second
	glanceEvery = 100 * time.Millisecond
)

// Lock waits for a lock, at most as long as For. certmagic's locks look once in a
// second whether they are free; meanwhile glance, unless it is nil, is called now
// and then, and the wait ends without the lock when it returns true. A lock that
// counts as Abandoned is removed, because in a folder others that had it in the
// last seconds before keep it fresh for as long as they live.
func Lock(ctx context.Context, locker Locker, name string, glance func() bool) (locked bool, err error) {
	within, cancel := context.WithTimeout(ctx, For)
	defer cancel()
	attempt, giveUp := context.WithCancel(within)
	defer giveUp()
	done := try(attempt, within, locker, name)
	ticker := time.NewTicker(glanceEvery)
	defer ticker.Stop()
	abandoned := time.NewTimer(Abandoned)
	defer abandoned.Stop()
	for {
		select {
		case <-abandoned.C:
			// It may have come at this very moment, and then must not be removed.
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

// try asks for a lock until ctx ends, and tells what has come of it. What comes
// when nobody waits for it any more is given back.
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

// Unlock gives a lock back, also when ctx has ended. If that fails, the lock is
// left behind.
func Unlock(ctx context.Context, locker Locker, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockFor)
	defer cancel()
	_ = locker.Unlock(ctx, name)
}
