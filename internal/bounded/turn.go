// A lock that can be given up.

package bounded

import (
	"context"
	"sync"
)

// Turn is a lock for which callers may stop waiting. There may be very many of them: one
// that nobody holds has a mutex and a pointer. Waiters get it in no order. The zero value is
// ready for use.
type Turn struct {
	mu   sync.Mutex
	held chan struct{} // closed when the turn ends; nil if nobody has it
}

// Take waits for the turn. It returns ctx's error if ctx ends first.
func (t *Turn) Take(ctx context.Context) error {
	for {
		t.mu.Lock()
		held := t.held
		if held == nil {
			t.held = make(chan struct{})
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// End ends the turn of its holder.
func (t *Turn) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.held)
	t.held = nil
}
