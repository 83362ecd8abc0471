// What a process has seen of the locks that it waits for.

package store

import (
	"sync"
	"time"
)

// sightings are those of the locks of one storage. They outlive a wait: some end after a
// second.
type sightings struct {
	mu   sync.Mutex
	seen map[string]*sighting // by the names of the locks
}

// sighting is who was seen to have a lock.
type sighting struct {
	holder
	since, last time.Time
	replacing   bool
}

// mostSeen bounds the sightings. A process waits for few locks at the same time.
const mostSeen = 1000

// sightingsOf are those of a storage, or new ones.
func sightingsOf(at Store) *sightings {
	if s, ok := at.(interface{ sightings() *sightings }); ok {
		return s.sightings()
	}
	return new(sightings)
}

// abandoned records that a lock cannot be had because of h, and reports whether it was left
// behind and the caller is to replace it. forget ends that.
func (s *sightings) abandoned(name string, h holder, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.seen[name]
	if known == nil || !known.replacing && (known.holder != h || h.id == "" && now.Sub(known.last) > Abandoned) {
		if s.seen == nil || len(s.seen) >= mostSeen {
			s.seen = make(map[string]*sighting)
		}
		known = &sighting{holder: h, since: now}
		s.seen[name] = known
	}
	known.last = now
	if known.replacing || now.Sub(known.since) < Abandoned {
		return false
	}
	known.replacing = true
	return true
}

// forget is called when the lock was had or replaced: what is seen from now on is new.
func (s *sightings) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, name)
}

func (r *Reattachable) sightings() *sightings { return &r.seen }

func (a *Attachment) sightings() *sightings { return a.from.sightings() }

func (f *Fallback) sightings() *sightings { return sightingsOf(f.Inner) }
