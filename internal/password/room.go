// The room in which attempts wait for their check, and the order in which they are
// called.

package password

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// perSource is how many attempts of one source wait, and inAll how many of all.
	perSource = 16
	inAll     = 1024

	// slowEvery is the least time between two checks of attempts that are slow: at one
	// source, after its last wrong guess.
	slowEvery = time.Second
)

// errFull says that there is no place.
var errFull = errors.New("too many password checks are waiting")

// visitor is an attempt in the room.
type visitor struct {
	source string
	slow   bool // it may be called only slowEvery after its source was wrong
	rank   int  // the lower, the sooner

	from    *source
	arrived uint64
	called  chan error // nil if it is its turn
}

// source is where visitors come from.
type source struct {
	waiting []*visitor
	running bool
}

// room calls visitors, at most parallel at the same time.
type room struct {
	parallel int

	mu       sync.Mutex
	sources  map[string]*source            // with a visitor that waits or was called
	wrong    *lru.Cache[string, time.Time] // sources: only a check adds one
	right    *lru.Cache[string, time.Time] // sources: only a right password adds one
	seen     *lru.Cache[string, uint64]    // sources: their first arrival
	newest   bool                          // the turn of the source that was seen last
	waiting  int
	running  int
	arrivals uint64
}

func newRoom(parallel int) *room {
	return &room{
		parallel: parallel, sources: make(map[string]*source),
		wrong: newLRU[string, time.Time](memory), right: newLRU[string, time.Time](memory), seen: newLRU[string, uint64](memory),
	}
}

// let notes that a right password has come from a source.
func (r *room) let(source string) {
	if last, ok := r.right.Get(source); !ok || time.Since(last) >= slowEvery {
		r.right.Add(source, time.Now())
	}
}

// enter returns when it is the visitor's turn, and with what ends it. It returns
// errFull if there is no place for it, and ctx's error if ctx ends first.
func (r *room) enter(ctx context.Context, v *visitor) (leave func(right bool), err error) {
	v.called = make(chan error, 1)
	r.mu.Lock()
	err = r.admit(v)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case err = <-v.called:
	case <-ctx.Done():
		err = r.giveUp(ctx, v)
	}
	if err != nil {
		return nil, err
	}
	return func(right bool) { r.leave(v, right) }, nil
}

// admit finds a place for a visitor. r.mu is held.
func (r *room) admit(v *visitor) error {
	r.arrivals++
	v.arrived = r.arrivals
	s := r.sources[v.source]
	if s == nil {
		s = new(source)
	}
	r.seen.ContainsOrAdd(v.source, v.arrived)
	switch {
	case len(s.waiting) >= perSource:
		if last := lastOf(append(slices.Clip(s.waiting), v)); last != v {
			r.turnAway(last)
			break
		}
		return errFull
	case r.waiting >= inAll:
		if len(s.waiting) > 0 {
			return errFull
		}
		r.turnAway(lastOf(r.crowd().waiting))
	}
	r.sources[v.source], v.from = s, s
	s.waiting = append(s.waiting, v)
	r.waiting++
	if left := r.pause(v, time.Now()); left > 0 && !s.running {
		time.AfterFunc(left, r.call)
	}
	r.callNext()
	return nil
}

// lastOf is who of these has to go: a random one of the highest rank.
func lastOf(waiting []*visitor) (last *visitor) {
	same := 0
	for _, v := range waiting {
		switch {
		case last == nil || v.rank > last.rank:
			last, same = v, 1
		case v.rank == last.rank:
			if same++; rand.IntN(same) == 0 { //nolint:gosec // a lottery, no secret
				last = v
			}
		}
	}
	return last
}

// crowd is the source with the most visitors; of several the one that was wrong last.
func (r *room) crowd() (most *source) {
	var last time.Time
	for name, s := range r.sources {
		wrong, _ := r.wrong.Peek(name)
		if most == nil || len(s.waiting) > len(most.waiting) || len(s.waiting) == len(most.waiting) && wrong.After(last) {
			most, last = s, wrong
		}
	}
	return most
}

// turnAway refuses a visitor that waits.
func (r *room) turnAway(v *visitor) {
	r.remove(v)
	v.called <- errFull
}

// remove reports whether the visitor was waiting.
func (r *room) remove(v *visitor) bool {
	s := v.from
	for i, other := range s.waiting {
		if other == v {
			s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
			r.waiting--
			r.tidy(v)
			return true
		}
	}
	return false
}

// tidy forgets the source of a visitor if it has no others.
func (r *room) tidy(v *visitor) {
	if len(v.from.waiting) == 0 && !v.from.running {
		delete(r.sources, v.source)
	}
}

// giveUp has a visitor wait no longer. If it was called in that very moment, the call
// counts.
func (r *room) giveUp(ctx context.Context, v *visitor) error {
	r.mu.Lock()
	waited := r.remove(v)
	r.mu.Unlock()
	if waited {
		return ctx.Err()
	}
	return <-v.called
}

// pause is how long a visitor has to wait because its source was wrong.
func (r *room) pause(v *visitor, now time.Time) time.Duration {
	if !v.slow {
		return 0
	}
	wrong, ok := r.wrong.Peek(v.source)
	if !ok {
		return 0
	}
	return max(slowEvery-now.Sub(wrong), 0)
}

func (r *room) call() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.callNext()
}

// callNext calls visitors as long as there is room for their checks. r.mu is held.
func (r *room) callNext() {
	for r.running < r.parallel {
		s, v := r.next()
		if v == nil {
			return
		}
		r.running++
		s.running = true
		r.remove(v)
		v.called <- nil
	}
}

// standing is what is known of a source: the lower, the sooner it is called.
type standing struct {
	class int
	order int64 // within the class
}

func (a standing) before(b standing) bool {
	return a.class < b.class || a.class == b.class && a.order < b.order
}

// The classes of sources.
const (
	classRight   = iota // the last check was of a right password: in the order of arrival
	classUnknown        // was never wrong: by turns the one that was seen first, and last
	classWrong          // that whose last wrong password is the longest ago
)

func (r *room) standing(name string, first *visitor) standing {
	wrong, wasWrong := r.wrong.Peek(name)
	right, wasRight := r.right.Peek(name)
	seen, _ := r.seen.Peek(name)
	switch {
	case wasRight && right.After(wrong):
		return standing{classRight, int64(first.arrived)}
	case wasWrong:
		return standing{classWrong, wrong.UnixNano()}
	case r.newest:
		return standing{classUnknown, -int64(seen)}
	}
	return standing{classUnknown, int64(seen)}
}

// next is the visitor to call, nil if there is none: the one with the lowest rank of
// the source with the best standing.
func (r *room) next() (s *source, v *visitor) {
	now := time.Now()
	var best standing
	for name, other := range r.sources {
		first := r.first(other, now)
		if first == nil {
			continue
		}
		if its := r.standing(name, first); v == nil || its.before(best) {
			s, v, best = other, first, its
		}
	}
	if v != nil && best.class == classUnknown {
		r.newest = !r.newest
	}
	return s, v
}

// first is the visitor of a source that may be called, nil if there is none.
func (r *room) first(s *source, now time.Time) (first *visitor) {
	if s.running {
		return nil
	}
	for _, v := range s.waiting {
		if r.pause(v, now) > 0 {
			continue
		}
		if first == nil || v.rank < first.rank {
			first = v
		}
	}
	return first
}

// leave ends the check of a visitor.
func (r *room) leave(v *visitor, right bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.from.running = false
	r.running--
	if !right {
		r.wrong.Add(v.source, time.Now())
		if len(v.from.waiting) > 0 {
			time.AfterFunc(slowEvery, r.call)
		}
	}
	r.tidy(v)
	r.callNext()
}
