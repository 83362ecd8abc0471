// Storages that outlive reloads.

package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Reattachable is a store that configurations attach and detach, and that outlives
// them. The store that was attached last is used, because Caddy closes that of an
// unloaded configuration. Calls end with their contexts even if the store hangs, except
// Lock: see the function Lock. The zero value has no store.
type Reattachable struct {
	mu       sync.Mutex
	attached []*Attachment
	locked   map[string]*Attachment // which attachment holds the lock
	seen     sightings
}

// Attach makes the store the one that is used. When it is detached, the one before it
// is used again if it is still attached.
func (r *Reattachable) Attach(open Open) *Attachment {
	a := &Attachment{from: r, open: open}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attached = append(r.attached, a)
	return a
}

func (r *Reattachable) remove(a *Attachment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attached = slices.DeleteFunc(r.attached, func(other *Attachment) bool { return other == a })
}

// yield has all other stores preferred to a.
func (r *Reattachable) yield(a *Attachment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.attached, a)
	if i < 0 {
		return
	}
	r.attached = slices.Insert(slices.Delete(r.attached, i, i+1), 0, a)
}

// Last returns the store that was attached last, nil if there is none.
func (r *Reattachable) Last() *Attachment {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.attached) == 0 {
		return nil
	}
	return r.attached[len(r.attached)-1]
}

// useLast runs a call with the last store. If that is detached at this moment, the next
// one is used.
func useLast[T any](r *Reattachable, exchange func(*Attachment) (T, error)) (value T, err error) {
	for {
		a := r.Last()
		if a == nil {
			return value, ErrDetached
		}
		value, err = exchange(a)
		if !errors.Is(err, ErrDetached) || r.Last() == a {
			return value, err
		}
	}
}

// Lock implements Store.
func (r *Reattachable) Lock(ctx context.Context, name string) error {
	_, err := useLast(r, func(a *Attachment) (any, error) {
		if err := a.Lock(ctx, name); err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.locked == nil {
			r.locked = make(map[string]*Attachment)
		}
		r.locked[name] = a
		return nil, nil // there is only the error
	})
	return err
}

// Unlock implements Store.
func (r *Reattachable) Unlock(ctx context.Context, name string) error {
	r.mu.Lock()
	holder := r.locked[name]
	delete(r.locked, name)
	r.mu.Unlock()
	_, err := Within(ctx, func() (any, error) {
		if holder != nil {
			return nil, holder.Unlock(ctx, name)
		}
		// A lock of another process that was left behind.
		return useLast(r, func(a *Attachment) (any, error) { return nil, a.Unlock(ctx, name) })
	})
	return err
}

// Store implements Store.
func (r *Reattachable) Store(ctx context.Context, key string, value []byte) error {
	_, err := Within(ctx, func() (any, error) {
		return useLast(r, func(a *Attachment) (any, error) { return nil, a.Store(ctx, key, value) })
	})
	return err
}

// Load implements Store.
func (r *Reattachable) Load(ctx context.Context, key string) ([]byte, error) {
	return Within(ctx, func() ([]byte, error) {
		return useLast(r, func(a *Attachment) ([]byte, error) { return a.Load(ctx, key) })
	})
}

// Delete implements Store.
func (r *Reattachable) Delete(ctx context.Context, key string) error {
	_, err := Within(ctx, func() (any, error) {
		return useLast(r, func(a *Attachment) (any, error) { return nil, a.Delete(ctx, key) })
	})
	return err
}

// Before implements Lister.
func (r *Reattachable) Before(ctx context.Context, folder string, moment time.Time) ([]string, error) {
	return Within(ctx, func() ([]string, error) {
		return useLast(r, func(a *Attachment) ([]string, error) { return a.Before(ctx, folder, moment) })
	})
}

// Interface guards
var (
	_ Store  = (*Reattachable)(nil)
	_ Lister = (*Reattachable)(nil)
)
