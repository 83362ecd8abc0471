// Tables in which every caller has a share.

package issuer

import (
	"container/list"
	"sync"
)

// shares is a table of bounded size. A caller that puts much into it pushes out what
// is its own.
type shares[K comparable, V any] struct {
	each, all int

	mu      sync.Mutex
	entries map[K]*list.Element
	callers map[string]*list.List // of *entry, the oldest first
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	caller string
}

func newShares[K comparable, V any](each, all int) *shares[K, V] {
	return &shares[K, V]{each: each, all: all, entries: make(map[K]*list.Element), callers: make(map[string]*list.List)}
}

func (s *shares[K, V]) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// add returns the values that had to make room.
func (s *shares[K, V]) add(caller string, key K, value V) (out []V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
	own := s.callers[caller]
	if own == nil {
		own = list.New()
		s.callers[caller] = own
	}
	s.entries[key] = own.PushBack(&entry[K, V]{key, value, caller})
	for own.Len() > s.each {
		out = append(out, s.removeFirst(own))
	}
	for len(s.entries) > s.all {
		out = append(out, s.removeFirst(s.largest()))
	}
	return out
}

func (s *shares[K, V]) removeFirst(own *list.List) V {
	first := own.Front().Value.(*entry[K, V])
	s.remove(first.key)
	return first.value
}

// values are all that there are, in no order.
func (s *shares[K, V]) values() []V {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([]V, 0, len(s.entries))
	for _, element := range s.entries {
		values = append(values, element.Value.(*entry[K, V]).value)
	}
	return values
}

// largest is the share of the caller that has the most.
func (s *shares[K, V]) largest() (most *list.List) {
	for _, own := range s.callers {
		if most == nil || own.Len() > most.Len() {
			most = own
		}
	}
	return most
}

func (s *shares[K, V]) get(key K) (value V, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	element, ok := s.entries[key]
	if !ok {
		return value, false
	}
	return element.Value.(*entry[K, V]).value, true
}

// use is get for a value that is then the youngest of its caller's.
func (s *shares[K, V]) use(key K) (value V, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	element, ok := s.entries[key]
	if !ok {
		return value, false
	}
	s.callers[element.Value.(*entry[K, V]).caller].MoveToBack(element)
	return element.Value.(*entry[K, V]).value, true
}

// take is get for a value that is there once.
func (s *shares[K, V]) take(key K) (value V, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	element, ok := s.entries[key]
	if !ok {
		return value, false
	}
	s.remove(key)
	return element.Value.(*entry[K, V]).value, true
}

func (s *shares[K, V]) remove(key K) {
	element, ok := s.entries[key]
	if !ok {
		return
	}
	delete(s.entries, key)
	caller := element.Value.(*entry[K, V]).caller
	own := s.callers[caller]
	if own.Remove(element); own.Len() == 0 {
		delete(s.callers, caller)
	}
}
