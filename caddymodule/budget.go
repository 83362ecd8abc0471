// The lock-out budget: its configuration, where tries are stored, and the guard that
// counts them.

package caddymodule

import (
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/tokencache"
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
	budgetUsage  = "for example: lockout_budget 2 15m"
	maxTries     = 100
	leastWindow  = time.Minute
	budgetLogger = "http.reverse_proxy.transport.veeam_auth.budget"
)

// check returns an error if the budget is not valid.
func (b *LockoutBudget) check() error {
	switch {
	case b == nil:
		return nil
	case b.Tries < 1 || b.Tries > maxTries:
		return fmt.Errorf("lockout_budget: %d is not a number of tries from 1 to %d; "+budgetUsage, b.Tries, maxTries)
	case time.Duration(b.Window) < leastWindow || time.Duration(b.Window) > tokencache.MaxBudgetWindow:
		return fmt.Errorf("lockout_budget: the window is %v (allowed: 1m to 24h); "+budgetUsage, time.Duration(b.Window))
	}
	return nil
}

// lockoutBudget parses the subdirective:
//
//	lockout_budget <tries> <window>
func (p *directiveParser) lockoutBudget(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("lockout_budget accepts a number of tries and a duration; " + budgetUsage)
	}
	tries, err := strconv.Atoi(args[0])
	if err != nil {
		return d.Errf("lockout_budget: %q is not a number of tries; "+budgetUsage, args[0])
	}
	window, err := caddy.ParseDuration(args[1])
	if err != nil {
		return d.Errf("lockout_budget: %q is not a duration; "+budgetUsage, args[1])
	}
	b := &LockoutBudget{Tries: tries, Window: caddy.Duration(window)}
	if err := b.check(); err != nil {
		return d.WrapErr(err)
	}
	p.transport.LockoutBudget = b
	return nil
}

// limit returns the budget of each user of the transport.
func (t *Transport) limit() tokencache.Limit {
	if b := t.LockoutBudget; b != nil {
		return tokencache.Limit{Tries: b.Tries, Window: time.Duration(b.Window)}
	}
	return tokencache.Limit(t.product.Lockout)
}

// triesStore is the store of tries: the cache if there is one, otherwise Caddy's
// storage.
type triesStore struct {
	shared *tokencache.Shared
	store  *store.Attachment // nil with a cache, whose store is its own
}

// newTries returns the store of tries and open sessions in Caddy's storage, for transports
// without a cache.
func newTries() *tokencache.Shared {
	return upstream.NewTries(func(message string, err error) {
		logger := caddy.Log().Named(budgetLogger)
		if err == nil {
			logger.Info(message)
			return
		}
		logger.Warn(message, zap.Error(err))
	})
}

func openTries(ctx caddy.Context, storage certmagic.Storage, cache *Cache, plain *tokencache.Shared) *triesStore {
	if shared := cache.shared(); shared != nil {
		return &triesStore{shared: shared.Shared}
	}
	if storage == nil {
		storage = ctx.Storage()
	}
	return &triesStore{shared: plain, store: plain.AttachLate(store.Opened(storages.Dated{Storage: storage}))}
}

func (s *triesStore) close() {
	if s != nil && s.store != nil {
		s.store.Detach()
	}
}
