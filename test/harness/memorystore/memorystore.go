// Package memorystore implements a storage in memory for tests in which several
// processes share one. Its locks behave as those of certmagic's storages: a waiting
// process checks a lock once per second, and an abandoned lock is stale after ten
// seconds.
package memorystore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lookEvery  = time.Second
	staleAfter = 10 * time.Second
)

// Storage is what all processes share. Its zero value is empty.
type Storage struct {
	// Fresh has locks that were left behind kept fresh for ever: with certmagic's file
	// storage, the processes that had a lock in the last seconds do that, as long as they
	// run.
	Fresh bool

	// Takes is how long each half of a call takes: that before it is done, and that
	// after. Default: no time.
	Takes func() time.Duration

	// LookEvery is how often a waiting process checks a lock. Default: once per second.
	LookEvery time.Duration

	mu     sync.Mutex
	values map[string][]byte
	locks  map[string]time.Time // since when
}

// Process is the storage as one process sees it.
type Process struct {
	storage *Storage
	killed  atomic.Bool
	broken  atomic.Pointer[func(call, key string) error]

	// Written is called after each value that the process has written, before it
	// can give its lock back. Default: nothing happens.
	Written func(key string)
}

// Process returns the storage for one more process.
func (s *Storage) Process() *Process { return &Process{storage: s} }

var errKilled = errors.New("memorystore: the process was killed")

// Kill ends the process: nothing that it tries from now on is done, and the locks
// that it has are left behind.
func (p *Process) Kill() { p.killed.Store(true) }

// Break has calls of the process fail from now on: those for which failing returns an error.
// It is called with the name of the method, such as "Load", and its key.
func (p *Process) Break(failing func(call, key string) error) { p.broken.Store(&failing) }

func (p *Process) fails(call, key string) error {
	if failing := p.broken.Load(); failing != nil {
		return (*failing)(call, key)
	}
	return nil
}

// Lock waits for a lock.
func (p *Process) Lock(ctx context.Context, name string) error {
	if err := p.fails("Lock", name); err != nil {
		return err
	}
	defer p.storage.wait()
	for p.storage.wait(); !p.lock(name); {
		select {
		case <-time.After(cmp.Or(p.storage.LookEvery, lookEvery)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *Process) lock(name string) bool {
	s := p.storage
	s.mu.Lock()
	defer s.mu.Unlock()
	if since, held := s.locks[name]; p.killed.Load() || held && (s.Fresh || time.Since(since) <= staleAfter) {
		return false
	}
	if s.locks == nil {
		s.locks = make(map[string]time.Time)
	}
	s.locks[name] = time.Now()
	return true
}

// Unlock gives a lock back.
func (p *Process) Unlock(_ context.Context, name string) error {
	return p.do("Unlock", name, func(s *Storage) error {
		delete(s.locks, name)
		return nil
	})
}

// Store writes a value.
func (p *Process) Store(_ context.Context, key string, value []byte) error {
	err := p.do("Store", key, func(s *Storage) error {
		if s.values == nil {
			s.values = make(map[string][]byte)
		}
		s.values[key] = value
		return nil
	})
	if err == nil && p.Written != nil {
		p.Written(key)
	}
	return err
}

// Load reads a value.
func (p *Process) Load(_ context.Context, key string) (value []byte, err error) {
	err = p.do("Load", key, func(s *Storage) error {
		var ok bool
		if value, ok = s.values[key]; !ok {
			return fs.ErrNotExist
		}
		return nil
	})
	return value, err
}

// Delete removes a value.
func (p *Process) Delete(_ context.Context, key string) error {
	return p.do("Delete", key, func(s *Storage) error {
		delete(s.values, key)
		return nil
	})
}

// List lists what lies directly in a folder.
func (p *Process) List(_ context.Context, folder string, _ bool) (keys []string, err error) {
	err = p.do("List", folder, func(s *Storage) error {
		for key := range s.values {
			if rest, ok := strings.CutPrefix(key, folder+"/"); ok {
				name, _, _ := strings.Cut(rest, "/")
				keys = append(keys, folder+"/"+name)
			}
		}
		slices.Sort(keys)
		keys = slices.Compact(keys)
		return nil
	})
	return keys, err
}

func (s *Storage) wait() {
	if s.Takes != nil {
		time.Sleep(s.Takes())
	}
}

func (p *Process) do(call, key string, exchange func(*Storage) error) error {
	if err := p.fails(call, key); err != nil {
		return err
	}
	p.storage.wait()
	defer p.storage.wait()
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	if p.killed.Load() {
		return errKilled
	}
	return exchange(p.storage)
}
