// Package pool counts references to values that outlive the configuration that created
// them: the next configuration acquires them before the last one releases them.
package pool

import (
	"sync"
)

// Pool holds values by their keys, each for as long as somebody uses it. Create it with
// New.
type Pool[K comparable, V any] struct {
	destruct func(V)

	group func(K) any // nil if nobody asks for groups

	mu     sync.Mutex
	known  map[K]*used[V]
	groups map[any]*used[V] // the first one of each
}

type used[V any] struct {
	value V
	users int

	before, behind *used[V] // in its group
}

// New returns a pool that gives each value that nobody uses any more to destruct.
func New[K comparable, V any](destruct func(V)) *Pool[K, V] {
	return &Pool[K, V]{destruct: destruct, known: make(map[K]*used[V])}
}

// NewGrouped is New for a pool whose values are also found by a part of their keys, which
// group returns.
func NewGrouped[K comparable, V any](group func(K) any, destruct func(V)) *Pool[K, V] {
	p := New[K](destruct)
	p.group, p.groups = group, make(map[any]*used[V])
	return p
}

// Group is what is in use in a group.
func (p *Pool[K, V]) Group(group any) (found []V) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := p.groups[group]; one != nil; one = one.behind {
		found = append(found, one.value)
	}
	return found
}

// enter adds a value to its group. p.mu is held.
func (p *Pool[K, V]) enter(key K, one *used[V]) {
	if p.group == nil {
		return
	}
	group := p.group(key)
	if one.behind = p.groups[group]; one.behind != nil {
		one.behind.before = one
	}
	p.groups[group] = one
}

// leave removes a value from its group. p.mu is held.
func (p *Pool[K, V]) leave(key K, one *used[V]) {
	if p.group == nil {
		return
	}
	if one.behind != nil {
		one.behind.before = one.before
	}
	switch {
	case one.before != nil:
		one.before.behind = one.behind
	case one.behind != nil:
		p.groups[p.group(key)] = one.behind
	default:
		delete(p.groups, p.group(key))
	}
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
		p.enter(key, found)
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
		p.leave(key, found)
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
