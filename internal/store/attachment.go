// A store as one configuration opens it.

package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Open opens a store. end, unless it is nil, closes it.
type Open func() (opened Store, end func(), err error)

// Opened is the Open of a store that is open and that somebody else closes.
func Opened(s Store) Open {
	return func() (Store, func(), error) { return s, nil, nil }
}

// ErrDetached is the error of a store that belongs to no configuration any more.
var ErrDetached = errors.New("the configuration of the storage was unloaded")

// Attachment is a store as one configuration opens it. It is opened when it is first
// needed: stores connect to their servers then, and a server that is away must not
// keep the configuration from starting. Its exchanges are not bounded.
type Attachment struct {
	from    *Reattachable
	open    Open
	running atomic.Int64

	mu       sync.Mutex
	store    Store
	end      func()
	detached bool
	waiting  int             // for a lock
	locked   map[string]bool // the locks that it has
}

// Detach takes the store away. It is closed as soon as no lock is waited for or held:
// one that could not be given back any more would be kept fresh by this process for as
// long as it lives.
func (a *Attachment) Detach() {
	a.from.remove(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.detached = true
	a.closeLocked()
}

// Open returns the store itself. Where a first try has failed, the next one opens it
// again.
func (a *Attachment) Open() (Store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.openLocked()
}

// Running is how many exchanges are under way.
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

// ask runs one exchange with the store.
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

// await opens the store for one who waits for a lock.
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

// Before implements Lister. Of a store that is none it lists nothing.
func (a *Attachment) Before(ctx context.Context, folder string, moment time.Time) (old []string, err error) {
	err = a.ask(func(s Store) error {
		if lister, ok := s.(Lister); ok {
			old, err = lister.Before(ctx, folder, moment)
		}
		return err
	})
	return old, err
}

// Interface guards
var (
	_ Store  = (*Attachment)(nil)
	_ Lister = (*Attachment)(nil)
)
