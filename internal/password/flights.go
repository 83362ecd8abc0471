// Attempts with the same password at the same time: one of them is checked.

package password

import (
	"context"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// Those who wait for the check of another one: for one check, and for all.
const (
	perFlight  = 64
	perFlights = 1024
)

// flights are checks under way. The zero value is ready for use.
type flights struct {
	mu     sync.Mutex
	byKey  map[ratelimit.Key]*flight
	joined int
}

type flight struct {
	done   chan struct{}
	joined int
}

// do looks, or waits for somebody who looks with the same key. It returns nil after a
// look, also after one of another that has failed. It returns errFull if too many
// wait, and ctx's error if ctx ends first.
func (f *flights) do(ctx context.Context, key ratelimit.Key, look func() error) error {
	f.mu.Lock()
	if other := f.byKey[key]; other != nil {
		if other.joined >= perFlight || f.joined >= perFlights {
			f.mu.Unlock()
			return errFull
		}
		other.joined++
		f.joined++
		f.mu.Unlock()
		return f.wait(ctx, other)
	}
	if f.byKey == nil {
		f.byKey = make(map[ratelimit.Key]*flight)
	}
	own := &flight{done: make(chan struct{})}
	f.byKey[key] = own
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.byKey, key)
		f.mu.Unlock()
		close(own.done)
	}()
	return look()
}

func (f *flights) wait(ctx context.Context, other *flight) error {
	defer func() {
		f.mu.Lock()
		other.joined--
		f.joined--
		f.mu.Unlock()
	}()
	select {
	case <-other.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
