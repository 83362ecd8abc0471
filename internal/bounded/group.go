// Goroutines that are waited for.

package bounded

import "sync"

// Group counts goroutines. Unlike with a sync.WaitGroup, the first one may begin while
// others already wait. The zero value is ready for use.
type Group struct {
	mu      sync.Mutex
	running int
	ended   chan struct{} // closed when none runs any more; nil while none runs
}

// Go runs f in its own goroutine.
func (g *Group) Go(f func()) {
	g.mu.Lock()
	if g.running++; g.running == 1 {
		g.ended = make(chan struct{})
	}
	g.mu.Unlock()
	go func() {
		defer g.leave()
		f()
	}()
}

func (g *Group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 {
		close(g.ended)
		g.ended = nil
	}
}

// Wait returns as soon as no goroutine runs.
func (g *Group) Wait() {
	g.mu.Lock()
	ended := g.ended
	g.mu.Unlock()
	if ended != nil {
		<-ended
	}
}
