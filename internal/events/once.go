// What happens with many requests is told once.

package events

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// QuietFor is how long something must not happen until it counts as new.
	QuietFor = time.Minute

	maxEpisodes = 1000
)

// Episodes tells the first of many events of the same kind from those that follow. At
// most 1000 kinds are remembered. Create it with NewEpisodes.
type Episodes struct {
	mu   sync.Mutex
	last *lru.Cache[string, time.Time]
}

// NewEpisodes returns Episodes that remember nothing.
func NewEpisodes() *Episodes {
	last, err := lru.New[string, time.Time](maxEpisodes)
	if err != nil {
		panic(err) // the size is positive
	}
	return &Episodes{last: last}
}

// Begins notes that something happens now, and reports whether it has not happened within
// QuietFor before.
func (e *Episodes) Begins(kind string, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, known := e.last.Peek(kind)
	e.last.Add(kind, now)
	return !known || now.Sub(before) >= QuietFor
}
