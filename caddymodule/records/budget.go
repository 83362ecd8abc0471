// The lock-out budget: its configuration, and where tries are stored.

package records

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// LockoutBudget limits the tries with a wrong credential that a user has at a server.
// It counts token requests that the server refused, and unanswered ones unless the
// credential was accepted before. A successful login restores all tries.
type LockoutBudget struct {
	// The number of tries, 1 to 100. Required.
	Tries int `json:"tries"`

	// The period in which tries count, 1 minute to 24 hours. Required.
	Window caddy.Duration `json:"window"`
}

const (
	budgetUsage = "for example: lockout_budget 2 15m"
	maxTries    = 100
	leastWindow = time.Minute
)

// Check returns an error if the budget is not valid.
func (b *LockoutBudget) Check() error {
	switch {
	case b == nil:
		return nil
	case b.Tries < 1 || b.Tries > maxTries:
		return fmt.Errorf("lockout_budget: %d is not a number of tries from 1 to %d; "+budgetUsage, b.Tries, maxTries)
	case time.Duration(b.Window) < leastWindow || time.Duration(b.Window) > lockout.MaxWindow:
		return fmt.Errorf("lockout_budget: the window is %v (allowed: 1m to 24h); "+budgetUsage, time.Duration(b.Window))
	}
	return nil
}

// Limit returns the budget of each user of a transport. Without a configured one it is the
// product's.
func (b *LockoutBudget) Limit(product lockout.Limit) lockout.Limit {
	if b == nil {
		return product
	}
	return lockout.Limit{Tries: b.Tries, Window: time.Duration(b.Window)}
}

// Tries is where a transport stores tries and, without a cache, open sessions: in its cache
// if there is one, otherwise in Caddy's storage.
type Tries struct {
	Shared *sealed.Store

	store *store.Attachment // nil with a cache, whose store is its own
}

// NewTries returns the store of tries and open sessions in Caddy's storage, for transports
// without a cache.
func NewTries() *sealed.Store { return upstream.NewTries(logs("budget")) }

// OpenTries returns the tries of a transport with the cache or, if that is nil, those in a
// storage, by default Caddy's own. without is what NewTries has returned.
func OpenTries(ctx caddy.Context, storage certmagic.Storage, cache *Cache, without *sealed.Store) *Tries {
	if shared := cache.Shared(); shared != nil {
		return &Tries{Shared: shared.Store}
	}
	if storage == nil {
		storage = ctx.Storage()
	}
	return &Tries{Shared: without, store: without.AttachLate(store.Opened(storages.Dated{Storage: storage}))}
}

// Close releases the storage.
func (t *Tries) Close() {
	if t != nil && t.store != nil {
		t.store.Detach()
	}
}
