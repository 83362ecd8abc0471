// The lock-out budget: what a grant spends of it.

package upstream

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// triesMap has the tries of users, by product, origin, user and the cache where there
// is one.
type triesMap struct {
	mu    sync.Mutex
	known map[[4]string]*lockout.Tries
}

// get returns the tries of a user. Servers do not tell users apart by the case of
// their names.
func (m *triesMap) get(product, origin, user, cache string) *lockout.Tries {
	user = strings.ToLower(strings.TrimSpace(user))
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [4]string{product, origin, user, cache}
	if known := m.known[key]; known != nil {
		return known
	}
	if m.known == nil || len(m.known) >= maxKnownUsers {
		m.known = make(map[[4]string]*lockout.Tries)
	}
	added := lockout.NewTries(product, origin, user)
	m.known[key] = added
	return added
}

// maxKnownUsers bounds what is kept in memory. What was counted of others is in the
// storage.
const maxKnownUsers = 100_000

// Guard counts the tries of one account's user and enforces its budget.
type Guard struct {
	tries   *lockout.Tries
	options lockout.TryOptions
	journal journal.Journal
	user    string
}

// guard returns what counts the tries of a login, nil for users of passthrough,
// whose guesses are counted for themselves.
func (s *Source) guard(c *account.Secrets, j journal.Journal) *Guard {
	if s.passthrough != nil {
		return nil
	}
	return s.server.Guard(s.place.Origin, c, j)
}

// Guard returns the guard for a login at an origin.
func (s *Server) Guard(origin string, c *account.Secrets, j journal.Journal) *Guard {
	user := c.Account.User()
	return &Guard{
		tries:   s.State.tries.get(s.Product.Name, origin, user, s.cacheID()),
		options: lockout.TryOptions{Limit: s.Budget, Credential: c.Digest.Reveal(), Shared: s.Tries},
		journal: j,
		user:    user,
	}
}

// Budget returns the remaining tries as known in memory.
func (g *Guard) Budget() lockout.Budget {
	return g.tries.Budget(g.options.Limit, g.options.Credential)
}

// LookAtBudget takes over the tries that are stored.
func (g *Guard) LookAtBudget(ctx context.Context) { g.tries.Look(ctx, g.options.Shared) }

type forcedKey struct{}

// forced marks the context of a login that an operator wants although the budget
// is used up.
func forced(ctx context.Context) context.Context { return context.WithValue(ctx, forcedKey{}, true) }

var verdicts = map[veeam.Verdict]lockout.Outcome{
	veeam.VerdictNone:     lockout.OutcomeUncounted,
	veeam.VerdictAccepted: lockout.OutcomeAccepted,
	veeam.VerdictRefused:  lockout.OutcomeRefused,
	veeam.VerdictUnknown:  lockout.OutcomeUnknown,
}

// Begin implements veeam.Guard.
func (g *Guard) Begin(ctx context.Context) (end func(context.Context, veeam.Verdict), err error) {
	options := g.options
	options.Force = ctx.Value(forcedKey{}) != nil
	try, err := g.tries.Begin(ctx, options)
	if err != nil {
		return nil, &BudgetError{err}
	}
	return func(ctx context.Context, verdict veeam.Verdict) {
		try.End(ctx, verdicts[verdict])
		if verdict == veeam.VerdictRefused {
			g.journal.Warn("Lock-out budget of user '" + g.user + "': " + g.Budget().String() + ".")
		}
	}, nil
}

// BudgetError says that a login was not sent because of the lock-out budget.
type BudgetError struct{ error }

func (e *BudgetError) Unwrap() error { return e.error }

// Reason implements veeam.Reasoner.
func (e *BudgetError) Reason() veeam.Reason {
	if isOverdrawn(e.error) {
		return veeam.ReasonLockedOutBudget
	}
	return veeam.ReasonThrottled // logins of the same user are under way
}

// isOverdrawn reports whether a login was not sent because of the budget.
func isOverdrawn(err error) bool {
	spent, ok := errors.AsType[*lockout.BudgetError](err)
	return ok && !spent.Sending
}

// Interface guards
var (
	_ veeam.Guard    = (*Guard)(nil)
	_ veeam.Reasoner = (*BudgetError)(nil)
)
