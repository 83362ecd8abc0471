// Exchanges with a storage that may hang.

package store

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

// exchanges holds those with storages that are under way. One that hangs for ever
// keeps its place, and perhaps a thread of the system. There is one for the process,
// because threads are the process's, and it outlives a reload, as the threads do.
var exchanges = make(chan struct{}, 500)

// Within waits for an exchange with a storage no longer than ctx says: a folder on a
// network that hangs does not look at it.
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
