// The last few of something, in memory.

package page

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// ring keeps the values that were added last. Adding takes no lock, so that requests can
// do it.
type ring[T any] struct {
	last  atomic.Uint64
	floor atomic.Uint64 // the last number that was forgotten
	slots []atomic.Pointer[numbered[T]]
}

// numbered is a value with its number; the first one has 1.
type numbered[T any] struct {
	number uint64
	value  T
}

func newRing[T any](size int) *ring[T] {
	return &ring[T]{slots: make([]atomic.Pointer[numbered[T]], size)}
}

// add adds a value, in place of the oldest one.
func (r *ring[T]) add(v *numbered[T]) {
	v.number = r.last.Add(1)
	r.slots[v.number%uint64(len(r.slots))].Store(v)
}

// after returns what was added after the value of a number, the oldest first, and the
// number of the last one. A number of another process stands for none. What another
// goroutine is about to add is left for the next time, with all that follows it.
func (r *ring[T]) after(number uint64) (found []*numbered[T], last uint64) {
	newest := r.last.Load()
	if number > newest {
		number = 0
	}
	for i := range r.slots {
		if v := r.slots[i].Load(); v != nil && v.number > number {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b *numbered[T]) int { return cmp.Compare(a.number, b.number) })
	last = max(number, r.floor.Load(), newest-min(newest, uint64(len(r.slots))))
	kept := found[:0]
	for _, v := range found {
		if v.number == last+1 {
			kept, last = append(kept, v), v.number
		}
	}
	return kept, last
}

// clear forgets all values. Their numbers are not used again.
func (r *ring[T]) clear() {
	r.floor.Store(r.last.Load())
	for i := range r.slots {
		r.slots[i].Store(nil)
	}
}
