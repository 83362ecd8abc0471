// Calls of a storage that may hang.

package store

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

// exchanges limits the storage calls that run at the same time. A call that hangs for
// ever keeps its place, and maybe an operating system thread. The limit is for the
// whole process and outlives a reload, because the threads do.
var exchanges = make(chan struct{}, 500)

// Within runs exchange and returns its result, or ctx's error when ctx ends: a network
// folder that hangs ignores contexts.
func Within[T any](ctx context.Context, exchange func() (T, error)) (value T, err error) {
	select {
	case exchanges <- struct{}{}:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	return bounded.Call(ctx, func(context.Context) (T, error) {
		defer func() { <-exchanges }()
		return exchange()
	})
}
