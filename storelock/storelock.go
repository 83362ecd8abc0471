// Package storelock waits for the locks of a storage that several processes
// share, also for those that a killed process has left behind.
package storelock

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
func Lock(ctx context.Context, store Locker, name string, glance func() bool) (locked bool, err error) {
	within, cancel := context.WithTimeout(ctx, For)
	defer cancel()
	done := make(chan error)
	go func() {
		err := store.Lock(within, name)
		select {
		case done <- err:
		case <-within.Done():
			if err == nil { // nobody waits for it any more
				Unlock(ctx, store, name)
			}
		}
	}()
	ticker := time.NewTicker(glanceEvery)
	defer ticker.Stop()
	abandoned := time.NewTimer(Abandoned)
	defer abandoned.Stop()
	for {
		select {
		case <-abandoned.C:
			go Unlock(ctx, store, name)
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

// Unlock gives a lock back, also when ctx has ended. If that fails, the lock is
// left behind.
func Unlock(ctx context.Context, store Locker, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockFor)
	defer cancel()
	_ = store.Unlock(ctx, name)
}
