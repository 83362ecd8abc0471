// A storage that cannot be written to: what belongs there is kept in memory.

package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Fallback is a store that stands before another one, and keeps values in memory from
// KeepInMemory on, until the process ends.
type Fallback struct {
	// Inner is the store behind it. Required.
	Inner Store

	mu     sync.Mutex
	memory *memory // nil while Inner is used
}

// memory are the values of a process.
type memory struct {
	readable bool // values that are not here are in the inner store
	values   map[string]memoryValue
	locks    map[string]chan struct{}
}

type memoryValue struct {
	text   []byte // nil if it was deleted
	stored time.Time
}

// KeepInMemory has the values of this process kept in memory. If the inner store has key,
// what it has is still read; otherwise it is not asked any more. Only the first call has
// an effect.
func (f *Fallback) KeepInMemory(ctx context.Context, key string) {
	_, err := f.Inner.Load(ctx, key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.memory == nil {
		f.memory = &memory{readable: err == nil, values: make(map[string]memoryValue), locks: make(map[string]chan struct{})}
	}
}

// kept is the memory, nil while there is none. f.mu is not held.
func (f *Fallback) kept() *memory {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.memory
}

// Lock implements Store.
func (f *Fallback) Lock(ctx context.Context, name string) error {
	m := f.kept()
	if m == nil {
		return f.Inner.Lock(ctx, name)
	}
	select {
	case f.lock(m, name) <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Fallback) lock(m *memory, name string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.locks[name] == nil {
		m.locks[name] = make(chan struct{}, 1)
	}
	return m.locks[name]
}

// Unlock implements Store. A lock of the inner store is released there.
func (f *Fallback) Unlock(ctx context.Context, name string) error {
	if m := f.kept(); m != nil {
		select {
		case <-f.lock(m, name):
			return nil
		default:
		}
	}
	return f.Inner.Unlock(ctx, name)
}

// Store implements Store.
func (f *Fallback) Store(ctx context.Context, key string, value []byte) error {
	if f.put(key, memoryValue{append([]byte{}, value...), time.Now()}) {
		return nil
	}
	return f.Inner.Store(ctx, key, value)
}

// put keeps a value, if there is a memory.
func (f *Fallback) put(key string, value memoryValue) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.memory != nil {
		f.memory.values[key] = value
	}
	return f.memory != nil
}

// Load implements Store.
func (f *Fallback) Load(ctx context.Context, key string) ([]byte, error) {
	f.mu.Lock()
	m := f.memory
	var value memoryValue
	here := false
	if m != nil {
		value, here = m.values[key]
	}
	f.mu.Unlock()
	switch {
	case here && value.text != nil:
		return slices.Clone(value.text), nil
	case m == nil || m.readable && !here:
		return f.Inner.Load(ctx, key)
	}
	return nil, fs.ErrNotExist
}

// Delete implements Store.
func (f *Fallback) Delete(ctx context.Context, key string) error {
	if f.put(key, memoryValue{}) {
		return nil
	}
	return f.Inner.Delete(ctx, key)
}

// Before implements Lister. What the inner store has is not listed beside values in
// memory: it cannot be removed.
func (f *Fallback) Before(ctx context.Context, folder string, moment time.Time) (old []string, err error) {
	f.mu.Lock()
	m := f.memory
	if m != nil {
		for key, value := range m.values {
			if value.text != nil && strings.HasPrefix(key, folder+"/") && value.stored.Before(moment) {
				old = append(old, key)
			}
		}
	}
	f.mu.Unlock()
	if m != nil {
		return old, nil
	}
	lister, ok := f.Inner.(Lister)
	if !ok {
		return nil, nil
	}
	return lister.Before(ctx, folder, moment)
}

// Unwritable returns why nothing can be written to a folder of a file system, if that will
// not pass by itself: permissions, a read-only file system, a folder that cannot be made.
// It returns nil for other errors and without any.
func Unwritable(folder string) error {
	err := os.MkdirAll(filepath.Join(folder, Folder), 0o700)
	if err == nil {
		var probe *os.File
		if probe, err = os.CreateTemp(filepath.Join(folder, Folder), "probe_"); err == nil {
			_ = probe.Close()
			return os.Remove(probe.Name())
		}
	}
	for _, lasting := range []error{fs.ErrPermission, fs.ErrNotExist, syscall.EROFS, syscall.ENOTDIR} {
		if errors.Is(err, lasting) {
			return err
		}
	}
	return nil
}
