// Locks that are waited for, and locks that nobody gives back.

package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// folder has one lock with certmagic's habits: it is looked at once in a second,
// and as long as others keep it fresh it never becomes stale.
type folder struct{ held atomic.Bool }

func (f *folder) Lock(ctx context.Context, _ string) error {
	for !f.held.CompareAndSwap(false, true) {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *folder) Unlock(context.Context, string) error {
	f.held.Store(false)
	return nil
}

func held() *folder {
	f := new(folder)
	f.held.Store(true)
	return f
}

func TestALockThatWasLeftBehindIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, f := time.Now(), held()
		locked, err := Lock(t.Context(), f, "", nil)
		if took := time.Since(began); !locked || err != nil || took < Abandoned || took > Abandoned+2*time.Second {
			t.Errorf("%v, %v after %v", locked, err, took)
		}
		if !f.held.Load() {
			t.Error("the lock is nobody's")
		}
	})
}

func TestALockIsWaitedForAsLongAsItsHolderMayHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held()
		var back time.Time
		time.AfterFunc(Section+unlockFor, func() { back = time.Now(); Unlock(t.Context(), f, "") })
		locked, err := Lock(t.Context(), f, "", nil)
		if !locked || err != nil || back.IsZero() {
			t.Errorf("%v, %v, given back %v", locked, err, back)
		}
	})
}

// The lock comes in the moment in which it would count as left behind.
func TestALockThatHasJustComeIsNotRemoved(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			f := held()
			time.AfterFunc(Abandoned-time.Millisecond, func() { Unlock(t.Context(), f, "") })
			locked, err := Lock(t.Context(), f, "", nil)
			synctest.Wait()
			if !locked || err != nil || !f.held.Load() {
				t.Fatalf("%v, %v, held %v", locked, err, f.held.Load())
			}
		})
	}
}

func TestTheWaitEndsWhenItIsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, f := time.Now(), held()
		locked, err := Lock(t.Context(), f, "", func() bool { return time.Since(began) > time.Second })
		if locked || err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v, %v after %v", locked, err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if locked, err := Lock(ctx, f, "", nil); locked || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", locked, err)
		}
		synctest.Wait()
		if !f.held.Load() {
			t.Error("the lock was taken away from its holder")
		}
	})
}

// slow gives its lock when nobody waits for it any more.
type slow struct{ folder }

func (s *slow) Lock(context.Context, string) error {
	time.Sleep(time.Minute)
	s.held.Store(true)
	return nil
}

func TestALockThatComesTooLateIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(slow)
		if locked, err := Lock(t.Context(), s, "", nil); locked || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", locked, err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if s.held.Load() {
			t.Error("it is left behind")
		}
	})
}
