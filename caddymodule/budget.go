// The lock-out budget: how it is configured, where tries are kept, and what a
// grant spends of it.

package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// LockoutBudget is how many tries with a wrong credential a user has at a server.
// It counts token requests that the server has refused, and those without an
// answer unless the credential was accepted before. A login that succeeds gives
// all tries back.
type LockoutBudget struct {
	// The number of tries, 1 to 100. Required.
	Tries int `json:"tries"`

	// The stretch of time in which they count, 1 minute to 24 hours. Required.
	Window caddy.Duration `json:"window"`
}

const (
	budgetUsage  = "write for example: lockout_budget 2 15m"
	maxTries     = 100
	leastWindow  = time.Minute
	budgetLogger = "http.reverse_proxy.transport.veeam_auth.budget"
)

// check reports what is wrong with a budget.
func (b *LockoutBudget) check() error {
	switch {
	case b == nil:
		return nil
	case b.Tries < 1 || b.Tries > maxTries:
		return fmt.Errorf("lockout_budget: %d is not a number of tries from 1 to %d; "+budgetUsage, b.Tries, maxTries)
	case time.Duration(b.Window) < leastWindow || time.Duration(b.Window) > tokencache.MaxBudgetWindow:
		return fmt.Errorf("lockout_budget: the window is %v; it takes 1m to 24h; "+budgetUsage, time.Duration(b.Window))
	}
	return nil
}

// lockoutBudget reads the subdirective:
//
//	lockout_budget <tries> <window>
func (p *directiveParser) lockoutBudget(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("lockout_budget takes a number of tries and a duration; " + budgetUsage)
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

// limit is the budget of a transport's users.
func (t *Transport) limit() tokencache.Limit {
	if b := t.LockoutBudget; b != nil {
		return tokencache.Limit{Tries: b.Tries, Window: time.Duration(b.Window)}
	}
	return tokencache.Limit(t.product.Lockout)
}

// userTries are the tries of users, by product, origin, user and the cache where
// there is one. They outlive reloads as the sessions do.
var userTries triesMap

type triesMap struct {
	mu    sync.Mutex
	known map[[4]string]*tokencache.Tries
}

// get returns the tries of a user. Servers do not tell users apart by the case of
// their names.
func (m *triesMap) get(product, origin, user, cache string) *tokencache.Tries {
	user = strings.ToLower(strings.TrimSpace(user))
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [4]string{product, origin, user, cache}
	if known := m.known[key]; known != nil {
		return known
	}
	if m.known == nil || len(m.known) >= maxKnownUsers {
		m.known = make(map[[4]string]*tokencache.Tries)
	}
	added := tokencache.NewTries(product, origin, user)
	m.known[key] = added
	return added
}

// maxKnownUsers bounds what is kept in memory. What was counted of others is in the
// storage.
const maxKnownUsers = 100_000

// triesStore is where tries are kept for the next start: the cache where there is
// one, else Caddy's storage.
type triesStore struct {
	shared *tokencache.Shared
	detach func()
	store  *lateStore
	once   sync.Once // of close
}

// plainTries keeps tries in Caddy's storage where there is no cache. It outlives
// reloads, and with it what is known of the storage.
var plainTries = tokencache.NewShared(tokencache.SharedOptions{
	Keys: func() (tokencache.Sealer, error) { return plainSealer{}, nil },
	Log: func(_ string, err error) {
		logger := caddy.Log().Named(budgetLogger)
		if err == nil {
			logger.Info("the storage is back, tries with credentials are kept over a restart again")
			return
		}
		logger.Warn("the storage does not work: tries with credentials are counted in memory only, a restart forgets them", zap.Error(err))
	},
})

func openTries(ctx caddy.Context, storage certmagic.Storage, cache *Cache) *triesStore {
	if cache.id() != "" {
		return &triesStore{shared: cache.pooled.Shared}
	}
	if storage == nil {
		storage = ctx.Storage()
	}
	store := &lateStore{storage: storage}
	return &triesStore{shared: plainTries, store: store, detach: plainTries.Attach(store)}
}

func (s *triesStore) close() {
	if s == nil || s.detach == nil {
		return
	}
	s.once.Do(func() {
		s.detach()
		s.store.close()
	})
}

// plainSealer names records without a key and does not seal them: of a try they
// hold its time, and eight bits of a hash.
type plainSealer struct{}

// Encrypt implements tokencache.Sealer.
func (plainSealer) Encrypt(plaintext, _ []byte) ([]byte, error) { return plaintext, nil }

// Decrypt implements tokencache.Sealer.
func (plainSealer) Decrypt(ciphertext, _ []byte) ([]byte, error) { return ciphertext, nil }

// Name implements tokencache.Sealer.
func (plainSealer) Name(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// tryGuard spends from the budget of one account's user.
type tryGuard struct {
	tries   *tokencache.Tries
	options tokencache.TryOptions
	journal journal.Journal
	user    string
}

// guard returns what counts the tries of a login, nil for users of passthrough,
// whose guesses are counted for themselves.
func (s *slot) guard(c *account.Secrets, j journal.Journal) *tryGuard {
	if s.guest != nil {
		return nil
	}
	return s.transport.guard(s.target.origin, c, j)
}

func (t *Transport) guard(origin string, c *account.Secrets, j journal.Journal) *tryGuard {
	user := c.Account.User()
	return &tryGuard{
		tries:   userTries.get(t.product.Name, origin, user, t.Cache.id()),
		options: tokencache.TryOptions{Limit: t.limit(), Credential: c.Digest.Reveal(), Shared: t.tries.shared},
		journal: j,
		user:    user,
	}
}

// budget is what is left now, as far as it is known in memory.
func (g *tryGuard) budget() tokencache.Budget {
	return g.tries.Budget(g.options.Limit, g.options.Credential)
}

type forcedKey struct{}

// forced marks the context of a login that an operator wants although the budget
// is used up.
func forced(ctx context.Context) context.Context { return context.WithValue(ctx, forcedKey{}, true) }

var verdicts = map[veeam.Verdict]tokencache.Outcome{
	veeam.VerdictNone:     tokencache.OutcomeUncounted,
	veeam.VerdictAccepted: tokencache.OutcomeAccepted,
	veeam.VerdictRefused:  tokencache.OutcomeRefused,
	veeam.VerdictUnknown:  tokencache.OutcomeUnknown,
}

// Begin implements veeam.Guard.
func (g *tryGuard) Begin(ctx context.Context) (end func(context.Context, veeam.Verdict), err error) {
	options := g.options
	options.Force = ctx.Value(forcedKey{}) != nil
	try, err := g.tries.Begin(ctx, options)
	if err != nil {
		return nil, &overdrawnError{err}
	}
	return func(ctx context.Context, verdict veeam.Verdict) {
		try.End(ctx, verdicts[verdict])
		if verdict == veeam.VerdictRefused {
			g.journal.Warn("Lock-out budget of user '" + g.user + "': " + g.budget().String() + ".")
		}
	}, nil
}

// overdrawnError says that a login was not sent because of the lock-out budget.
type overdrawnError struct{ error }

func (e *overdrawnError) Unwrap() error { return e.error }

// Reason implements veeam.Reasoner.
func (e *overdrawnError) Reason() veeam.Reason {
	if isOverdrawn(e.error) {
		return veeam.ReasonLockedOutBudget
	}
	return veeam.ReasonThrottled // logins of the same user are under way
}

// isOverdrawn reports whether a login was not sent because of the budget.
func isOverdrawn(err error) bool {
	spent, ok := errors.AsType[*tokencache.BudgetError](err)
	return ok && !spent.Sending
}

// Interface guards
var (
	_ veeam.Guard       = (*tryGuard)(nil)
	_ veeam.Reasoner    = (*overdrawnError)(nil)
	_ tokencache.Sealer = plainSealer{}
)
