// Package pool counts references to values that outlive the configuration that created
// them: the next configuration acquires them before the last one releases them.
package pool

import "sync"

// Pool holds values by their keys, each for as long as somebody uses it. Create it with
// New.
type Pool[K comparable, V any] struct {
	destruct func(V)

	mu    sync.Mutex
	known map[K]*used[V]
}

type used[V any] struct {
	value V
	users int
}

// New returns a pool that gives each value that nobody uses any more to destruct.
func New[K comparable, V any](destruct func(V)) *Pool[K, V] {
	return &Pool[K, V]{destruct: destruct, known: make(map[K]*used[V])}
}

// Acquire makes the caller a user of the value of a key. Where there is none, create
// makes it.
func (p *Pool[K, V]) Acquire(key K, create func() V) V {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.known[key]
	if found == nil {
		found = &used[V]{value: create()}
		p.known[key] = found
	}
	found.users++
	return found.value
}

// Release ends one use of the value of a key.
func (p *Pool[K, V]) Release(key K) {
	p.mu.Lock()
	found := p.known[key]
	if found == nil {
		p.mu.Unlock()
		return
	}
	found.users--
	last := found.users == 0
	if last {
		delete(p.known, key)
	}
	p.mu.Unlock()
	if last {
		p.destruct(found.value)
	}
}

// Get returns the value of a key that somebody uses.
func (p *Pool[K, V]) Get(key K) (value V, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.known[key]; found != nil {
		return found.value, true
	}
	return value, false
}

// All is a copy of what is in use.
func (p *Pool[K, V]) All() map[K]V {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[K]V, len(p.known))
	for key, found := range p.known {
		all[key] = found.value
	}
	return all
}
