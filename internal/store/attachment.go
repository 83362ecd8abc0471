// Storages that are opened by one configuration.

package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Open opens a store. end closes it and may be nil.
type Open func() (opened Store, end func(), err error)

// Opened returns an Open for a store that is open already and that the caller closes.
func Opened(s Store) Open {
	return func() (Store, func(), error) { return s, nil, nil }
}

// ErrDetached is the error of a store whose configuration was unloaded.
var ErrDetached = errors.New("the configuration of the storage was unloaded")

// ErrNoList is the error of a store that does not list its keys.
var ErrNoList = errors.New("the storage does not list its keys")

// Attachment is a store that one configuration opens. It is opened when it is first
// used: stores connect to their servers then, and a server that cannot be reached must
// not prevent the configuration from starting. Its calls have no time limit.
type Attachment struct {
	from    *Reattachable
	open    Open
	running atomic.Int64

	mu       sync.Mutex
	store    Store
	end      func()
	leaving  bool // Detach was called
	detached bool
	holds    int             // number of Hold without release
	waiting  int             // number of calls that wait for a lock
	locked   map[string]bool // the locks that it holds
}

// Detach ends the use of the store. It is closed as soon as no lock is waited for or
// held: if a lock could not be released, this process would keep it alive until it
// ends.
func (a *Attachment) Detach() {
	a.mu.Lock()
	a.leaving = true
	held := a.holds > 0
	a.mu.Unlock()
	if held {
		a.from.yield(a)
		return
	}
	a.leave()
}

// leave is the end of the use.
func (a *Attachment) leave() {
	a.from.remove(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.detached = true
	a.closeLocked()
}

// Hold defers Detach until release is called. Meanwhile the store is used only if no other
// one is attached.
func (a *Attachment) Hold() (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holds++
	return func() {
		a.mu.Lock()
		a.holds--
		last := a.holds == 0 && a.leaving && !a.detached
		a.mu.Unlock()
		if last {
			a.leave()
		}
	}
}

// Open returns the store. If opening has failed, the next call tries again.
func (a *Attachment) Open() (Store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.openLocked()
}

// Running returns how many calls are running.
func (a *Attachment) Running() int64 { return a.running.Load() }

func (a *Attachment) openLocked() (_ Store, err error) {
	if a.detached && !a.busy() {
		return nil, ErrDetached
	}
	if a.store == nil {
		a.store, a.end, err = a.open()
	}
	return a.store, err
}

func (a *Attachment) busy() bool { return a.waiting > 0 || len(a.locked) > 0 }

func (a *Attachment) closeLocked() {
	if !a.detached || a.busy() {
		return
	}
	if a.end != nil {
		a.end()
	}
	a.store, a.end = nil, nil
}

// ask runs one call of the store.
func (a *Attachment) ask(exchange func(Store) error) error {
	a.running.Add(1)
	defer a.running.Add(-1)
	s, err := a.Open()
	if err != nil {
		return err
	}
	return exchange(s)
}

// Lock implements Store.
func (a *Attachment) Lock(ctx context.Context, name string) error {
	a.running.Add(1)
	defer a.running.Add(-1)
	s, err := a.await()
	if err != nil {
		return err
	}
	err = s.Lock(ctx, name)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting--
	if err == nil {
		if a.locked == nil {
			a.locked = make(map[string]bool)
		}
		a.locked[name] = true
	}
	a.closeLocked()
	return err
}

// await opens the store for a call that waits for a lock.
func (a *Attachment) await() (Store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.detached {
		return nil, ErrDetached
	}
	s, err := a.openLocked()
	if err == nil {
		a.waiting++
	}
	return s, err
}

// Unlock implements Store.
func (a *Attachment) Unlock(ctx context.Context, name string) error {
	return a.ask(func(s Store) error {
		err := s.Unlock(ctx, name)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.locked, name)
		a.closeLocked()
		return err
	})
}

// Store implements Store.
func (a *Attachment) Store(ctx context.Context, key string, value []byte) error {
	return a.ask(func(s Store) error { return s.Store(ctx, key, value) })
}

// Load implements Store.
func (a *Attachment) Load(ctx context.Context, key string) (value []byte, err error) {
	err = a.ask(func(s Store) error {
		value, err = s.Load(ctx, key)
		return err
	})
	return value, err
}

// Delete implements Store.
func (a *Attachment) Delete(ctx context.Context, key string) error {
	return a.ask(func(s Store) error { return s.Delete(ctx, key) })
}

// Before implements Lister. It lists nothing if the store is no Lister.
func (a *Attachment) Before(ctx context.Context, folder string, moment time.Time) (old []string, err error) {
	err = a.ask(func(s Store) error {
		if lister, ok := s.(Lister); ok {
			old, err = lister.Before(ctx, folder, moment)
		}
		return err
	})
	return old, err
}

// List lists the keys in a folder, and the folders in it.
func (a *Attachment) List(ctx context.Context, folder string) (keys []string, err error) {
	err = a.ask(func(s Store) error {
		lister, ok := s.(interface {
			List(ctx context.Context, path string, recursive bool) ([]string, error)
		})
		if !ok {
			return ErrNoList
		}
		keys, err = lister.List(ctx, folder, false)
		return err
	})
	return keys, err
}

// Interface guards
var (
	_ Store  = (*Attachment)(nil)
	_ Lister = (*Attachment)(nil)
)
