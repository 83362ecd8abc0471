// A store in memory that can fail in every way a store has.

package tokencache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

var errStore = errors.New("connection refused")

// memory is a Store with certmagic's habits: a lock is looked at once in a
// second, and one that was left behind is stale after ten.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	locks  map[string]time.Time
	fails  func(op string) error // nil: never
	takes  time.Duration
	ops    int
	writes [][]byte      // every value that was ever stored
	fresh  bool          // locks that were left behind are kept fresh by others
	looks  time.Duration // how often a lock is looked at. Default: once in a second
}

func newMemory() *memory {
	return &memory{values: map[string][]byte{}, locks: map[string]time.Time{}}
}

const memoryStale = 10 * time.Second

func (m *memory) begin(ctx context.Context, op string) error {
	m.mu.Lock()
	m.ops++
	fails, takes := m.fails, m.takes
	m.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fails != nil {
		return fails(op)
	}
	return ctx.Err()
}

func (m *memory) Lock(ctx context.Context, name string) error {
	if err := m.begin(ctx, "lock"); err != nil {
		return err
	}
	for {
		m.mu.Lock()
		since, held := m.locks[name]
		if !held || time.Since(since) > memoryStale && !m.fresh {
			m.locks[name] = time.Now()
			m.mu.Unlock()
			return nil
		}
		m.mu.Unlock()
		select {
		case <-time.After(cmp.Or(m.looks, time.Second)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memory) Unlock(ctx context.Context, name string) error {
	if err := m.begin(ctx, "unlock"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.locks, name)
	return nil
}

func (m *memory) Store(ctx context.Context, key string, value []byte) error {
	if err := m.begin(ctx, "store"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[key] = value
	m.writes = append(m.writes, value)
	return nil
}

func (m *memory) Load(ctx context.Context, key string) ([]byte, error) {
	if err := m.begin(ctx, "load"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.values[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return value, nil
}

func (m *memory) Delete(ctx context.Context, key string) error {
	if err := m.begin(ctx, "delete"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	return nil
}

// List lists what lies directly in a folder.
func (m *memory) List(ctx context.Context, folder string, _ bool) ([]string, error) {
	if err := m.begin(ctx, "list"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]bool{}
	for key := range m.values {
		if rest, ok := strings.CutPrefix(key, folder+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			found[folder+"/"+name] = true
		}
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (m *memory) breakWith(fails func(op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = fails
}

func (m *memory) slow(takes time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.takes = takes
}

func (m *memory) empty() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.values)
}

// each replaces every value.
func (m *memory) each(change func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, value := range m.values {
		m.values[key] = change(value)
	}
}

func (m *memory) exchanges() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

func (m *memory) snapshot() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.values)
}
