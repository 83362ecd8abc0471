// How each configured account is doing, from the moment at which it is
// configured: for the list of sessions and the metrics.

package caddymodule

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// health is how an account is doing at one server, over reloads. A request with a
// token reads it without a lock.
type health struct {
	wire    atomic.Pointer[account.Fault] // of the latest request, nil if it reached the server
	success atomic.Int64                  // when the server has answered last, unix seconds
	failure atomic.Int64                  // when something has failed last, unix seconds
}

// reached takes down that the server has answered. It seldom writes what all
// requests read.
func (h *health) reached(now time.Time) {
	if seconds := now.Unix(); h.success.Load() != seconds {
		h.success.Store(seconds)
	}
	if h.wire.Load() != nil {
		h.wire.Store(nil)
	}
}

// missed takes down that a request has not reached the server. What the client has
// ended is nobody's fault.
func (h *health) missed(ctx context.Context, err error, now time.Time) {
	if ctx.Err() != nil {
		return
	}
	h.failure.Store(now.Unix())
	h.wire.Store(&account.Fault{Reason: veeam.TransportReason(ctx, err), Text: err.Error(), At: now})
}

// observed has what a grant brings taken down.
func (h *health) observed(get tokencache.GrantFunc) tokencache.GrantFunc {
	return func(ctx context.Context, prev *tokencache.Token) (*tokencache.Token, error) {
		tok, err := get(ctx, prev)
		if err == nil {
			h.reached(time.Now())
		} else {
			h.failure.Store(time.Now().Unix())
		}
		return tok, err
	}
}

// configuredAccount names an account of a configuration.
type configuredAccount struct{ product, name string }

// accountBook has every account that is configured now. A configuration that is
// loaded enters its accounts before the one that it replaces takes its own out, so
// what is known of them outlives a reload.
type accountBook struct {
	mu       sync.Mutex
	accounts map[configuredAccount]*accountEntry
}

type accountEntry struct {
	users   []*account.Account // of the transports that have it
	servers map[string]*health // by origin
}

var configuredAccounts = &accountBook{accounts: make(map[configuredAccount]*accountEntry)}

// enter adds the accounts of a transport.
func (b *accountBook) enter(product string, accounts []*account.Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range accounts {
		key := configuredAccount{product, a.Name}
		e := b.accounts[key]
		if e == nil {
			e = &accountEntry{servers: make(map[string]*health)}
			b.accounts[key] = e
		}
		e.users = append(e.users, a)
	}
}

// leave takes them out.
func (b *accountBook) leave(product string, accounts []*account.Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range accounts {
		key := configuredAccount{product, a.Name}
		e := b.accounts[key]
		if e == nil {
			continue
		}
		if e.users = slices.DeleteFunc(e.users, func(other *account.Account) bool { return other == a }); len(e.users) == 0 {
			delete(b.accounts, key)
		}
	}
}

// at is the health of an account at a server. That of one which is not configured,
// such as a guest, is known to nobody else.
func (b *accountBook) at(product, account, origin string) *health {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.accounts[configuredAccount{product, account}]
	if e == nil {
		return new(health)
	}
	h := e.servers[origin]
	if h == nil {
		h = new(health)
		e.servers[origin] = h
	}
	return h
}

// forget takes a server out that no request has needed for long.
func (b *accountBook) forget(product, account, origin string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.accounts[configuredAccount{product, account}]; e != nil {
		delete(e.servers, origin)
	}
}

// names are those of the accounts that are configured.
func (b *accountBook) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := make(map[string]bool)
	for key := range b.accounts {
		found[key.name] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// snapshot is a copy that nobody writes to.
func (b *accountBook) snapshot() map[configuredAccount]accountEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := make(map[configuredAccount]accountEntry, len(b.accounts))
	for key, e := range b.accounts {
		found[key] = accountEntry{users: slices.Clone(e.users), servers: maps.Clone(e.servers)}
	}
	return found
}

// accountRow is an account at a server, or a configured account that no request
// has needed yet: then session is nil, and with it perhaps the origin.
type accountRow struct {
	product, account, origin string

	session *pooledSession // nil without
	state   tokencache.State

	reason           veeam.Reason
	detail           string // of the failure, empty without one
	success, failure time.Time
}

const (
	// lookAtSecretsEvery is how often the secrets of accounts without a token are
	// read for those who ask how they are doing.
	lookAtSecretsEvery = 10 * time.Second

	// lookAtSecretsFor is how long that is waited for. A reading that takes longer
	// counts next time.
	lookAtSecretsFor = 250 * time.Millisecond
)

// accountRows are all sessions, and each configured account that has none.
func accountRows(ctx context.Context) (rows []accountRow) {
	book := configuredAccounts.snapshot()
	for _, s := range (WantedSessions{}).find() {
		rows = append(rows, s.row())
	}
	known := make(map[configuredAccount]map[string]bool)
	busy := make(map[configuredAccount]bool)
	for _, r := range rows {
		if r.session.key.user != "" {
			continue
		}
		key := configuredAccount{r.product, r.account}
		if known[key] == nil {
			known[key] = make(map[string]bool)
		}
		known[key][r.origin] = true
		busy[key] = busy[key] || r.state.ExpiresIn > 0
	}
	var idle []*account.Account
	for key, e := range book {
		for origin := range e.servers {
			if !known[key][origin] {
				rows = append(rows, accountRow{product: key.product, account: key.name, origin: origin})
			}
		}
		if len(e.servers) == 0 && len(known[key]) == 0 {
			rows = append(rows, accountRow{product: key.product, account: key.name})
		}
		if !busy[key] {
			idle = append(idle, e.users...)
		}
	}
	lookAtSecrets(ctx, idle)
	for i := range rows {
		rows[i].judge(book)
	}
	return rows
}

func (s *pooledSession) row() accountRow {
	return accountRow{product: s.key.product, account: s.key.account, origin: s.key.origin, session: s, state: s.State()}
}

// lookAtSecrets reads the secrets of accounts that use none now. Nothing is sent.
func lookAtSecrets(ctx context.Context, accounts []*account.Account) {
	ctx, cancel := context.WithTimeout(ctx, lookAtSecretsFor)
	defer cancel()
	for _, a := range accounts {
		now := time.Now()
		if a.Health() == nil || now.Sub(a.Health().Looked()).Abs() < lookAtSecretsEvery {
			continue
		}
		found := a.Read(ctx)
		if _, late := errors.AsType[*bounded.LateError](found.Err); !late {
			a.Health().Took(found.Err, now)
		}
	}
}

// judge finds the one reason of a row.
func (r *accountRow) judge(book map[configuredAccount]accountEntry) {
	e := book[configuredAccount{r.product, r.account}]
	own := r.session == nil || r.session.key.user == ""
	h := e.servers[r.origin]
	if h == nil || !own {
		h = new(health)
	}
	r.success, r.failure = later(r.state.Succeeded, h.success.Load()), later(time.Time{}, h.failure.Load())
	r.reason = veeam.ReasonNotLoggedIn
	if r.state.ExpiresIn > 0 {
		r.reason = veeam.ReasonOK
	}
	if wire := h.wire.Load(); wire != nil {
		r.reason, r.detail = wire.Reason, wire.Text
	}
	if r.state.Cause != nil {
		r.reason, r.detail = veeam.ReasonOf(r.state.Cause), r.state.LastError
	}
	for _, a := range e.users {
		if a.Health() == nil || !own {
			continue
		}
		if fault := a.Health().Fault(); fault != nil {
			r.reason, r.detail = fault.Reason, fault.Text
			if fault.At.After(r.failure) {
				r.failure = fault.At
			}
		}
	}
}

// later is the later one of two times, to the second. Both may be zero.
func later(at time.Time, unixSeconds int64) time.Time {
	at = at.Truncate(time.Second)
	if unixSeconds != 0 && (at.IsZero() || unixSeconds > at.Unix()) {
		at = time.Unix(unixSeconds, 0)
	}
	if at.IsZero() {
		return at
	}
	return at.UTC()
}

// liveAccounts tells the metrics about all sessions and configured accounts.
func liveAccounts() (live []metrics.Session) {
	for _, r := range accountRows(context.Background()) {
		s := metrics.Session{
			Product: r.product, Account: r.account,
			Reason: string(r.reason), Healthy: r.reason.Healthy(),
			Success: r.success, Failure: r.failure,
			Status: string(tokencache.StatusNone), Unused: r.session == nil,
		}
		if r.session != nil {
			s.Status, s.ExpiresIn, s.Waiting = string(r.state.Status), r.state.ExpiresIn, r.state.Waiting
			s.Held, s.Next = r.state.HeldFor > 0, r.session.next.Load()
			s.BudgetLeft, s.BudgetOf = r.state.Budget.Left, r.state.Budget.Of
			s.OfUser = r.session.key.user != ""
		}
		live = append(live, s)
	}
	return live
}

// Checked takes down what a health check, or another request without a caller, has
// found out about a server: for all accounts that log in there.
func (s *Server) Checked(ctx context.Context, at Address, err error) {
	sources := s.sessions.slots.Load()
	if sources == nil {
		return
	}
	for key, source := range *sources {
		switch {
		case key.Address != at:
		case err != nil:
			source.health.missed(ctx, err, time.Now())
		case source.health.wire.Load() != nil:
			source.health.reached(time.Now())
		}
	}
}
