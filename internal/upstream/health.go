// How each configured account is doing, from the moment at which it is
// configured: for the list of sessions and the metrics.

package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// health is how an account is doing at one server, over reloads. A request with a
// token reads it without a lock.
type health struct {
	wire        atomic.Pointer[account.Fault]    // of the latest request, nil if it reached the server
	success     atomic.Int64                     // when the server has answered last, unix seconds
	certificate atomic.Pointer[x509.Certificate] // that the server presented last
	checked     atomic.Int64                     // when its end was looked at, unix seconds

	failure atomic.Int64                         // when something has failed last, unix seconds
	pins    atomic.Pointer[[]tlspin.Fingerprint] // of the server, as configured
	told    told

	parentTurn atomic.Pointer[parentTurn] // nil before the account has served others there
}

// turn is the right to use the session with which the account serves others: one for all
// sites and configurations, because they share the session.
func (h *health) turn() *parentTurn {
	if t := h.parentTurn.Load(); t != nil {
		return t
	}
	h.parentTurn.CompareAndSwap(nil, newParentTurn())
	return h.parentTurn.Load()
}

// presented takes down the certificate of the server: of the connection that an answer
// came by, or that a handshake has failed about. It reports whether the certificate is
// another one. It seldom writes what all requests read.
func (h *health) presented(state *tls.ConnectionState, err error) (changed bool) {
	leaf := tlspin.Leaf(state, err)
	if changed = leaf != nil && h.certificate.Load() != leaf; changed {
		h.certificate.Store(leaf)
	}
	return changed
}

// checkCertificateEvery is how often requests over a connection look at the end of the
// certificate of their server.
const checkCertificateEvery = time.Hour

// checksCertificate reports whether that is due, to one request.
func (h *health) checksCertificate(now time.Time) bool {
	before, seconds := h.checked.Load(), now.Unix()
	if time.Duration(seconds-before)*time.Second < checkCertificateEvery && before <= seconds { // the clock may have been set back
		return false
	}
	return h.checked.CompareAndSwap(before, seconds)
}

// observing sends the requests of logins and takes down the certificate of the server.
type observing struct {
	http.RoundTripper
	health *health
}

// RoundTrip implements http.RoundTripper.
func (o observing) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := o.RoundTripper.RoundTrip(req)
	if err != nil {
		o.health.presented(nil, err)
		return nil, err
	}
	o.health.presented(res.TLS, nil)
	return res, nil
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
	h.presented(nil, err)
	h.failure.Store(now.Unix())
	h.wire.Store(&account.Fault{Reason: veeam.TransportReason(ctx, err), Text: err.Error(), At: now})
}

// granted takes down how a grant has ended.
func (h *health) granted(err error) {
	if err == nil {
		h.reached(time.Now())
	} else {
		h.failure.Store(time.Now().Unix())
	}
}

// configuredAccount names an account of a configuration.
type configuredAccount struct{ product, name string }

// accountTable has every account that is configured now. A new configuration adds its
// accounts before the one that it replaces removes them, so what is known of them
// outlives a reload.
type accountTable struct {
	mu       sync.Mutex
	accounts map[configuredAccount]*accountEntry
}

type accountEntry struct {
	users   []*account.Account // of the transports that have it
	servers []serverHealth     // in the order of their origins
}

// serverHealth is how an account is doing at the server of an origin.
type serverHealth struct {
	origin string
	*health
}

// find returns where a server is or would be.
func (e *accountEntry) find(origin string) (at int, found bool) {
	return slices.BinarySearchFunc(e.servers, origin, func(s serverHealth, origin string) int { return cmp.Compare(s.origin, origin) })
}

// fault is why the secrets of the account cannot be read, nil if they can, and when that
// was found out last.
func (e *accountEntry) fault() (fault *account.Fault, at time.Time) {
	for _, a := range e.users {
		if a.Health() == nil {
			continue
		}
		if found := a.Health().Fault(); found != nil {
			if fault = found; found.At.After(at) {
				at = found.At
			}
		}
	}
	return fault, at
}

// add adds the accounts of a transport.
func (t *accountTable) add(product string, accounts []*account.Account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range accounts {
		key := configuredAccount{product, a.Name}
		e := t.accounts[key]
		if e == nil {
			e = new(accountEntry)
			t.accounts[key] = e
		}
		e.users = append(e.users, a)
	}
}

// remove removes the accounts of a transport.
func (t *accountTable) remove(product string, accounts []*account.Account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range accounts {
		key := configuredAccount{product, a.Name}
		e := t.accounts[key]
		if e == nil {
			continue
		}
		if e.users = slices.DeleteFunc(e.users, func(other *account.Account) bool { return other == a }); len(e.users) == 0 {
			delete(t.accounts, key)
		}
	}
}

// at returns the health of an account at a server. That of an account which is not
// configured, as for passthrough users, is kept by the caller alone.
func (t *accountTable) at(product, account, origin string) *health {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.accounts[configuredAccount{product, account}]
	if e == nil {
		return new(health)
	}
	i, found := e.find(origin)
	if !found {
		e.servers = slices.Insert(e.servers, i, serverHealth{origin, new(health)})
	}
	return e.servers[i].health
}

// entry returns a copy of an account, which may be read without the lock.
func (t *accountTable) entry(key configuredAccount) *accountEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.accounts[key]; e != nil {
		return e.copy()
	}
	return new(accountEntry)
}

func (e *accountEntry) copy() *accountEntry {
	return &accountEntry{users: slices.Clone(e.users), servers: slices.Clone(e.servers)}
}

// forget removes a server that no request has needed for long.
func (t *accountTable) forget(product, account, origin string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.accounts[configuredAccount{product, account}]
	if e == nil {
		return
	}
	if i, found := e.find(origin); found {
		e.servers = slices.Delete(e.servers, i, i+1)
	}
}

// names returns the names of the configured accounts, sorted.
func (t *accountTable) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := make(map[string]bool)
	for key := range t.accounts {
		found[key.name] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// snapshot returns a copy of all, which may be read without the lock.
func (t *accountTable) snapshot() map[configuredAccount]*accountEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := make(map[configuredAccount]*accountEntry, len(t.accounts))
	for key, e := range t.accounts {
		found[key] = e.copy()
	}
	return found
}

// StatusCodeNeeded is the status of a session that waits for a verification code.
const StatusCodeNeeded = tokencache.Status(veeam.ReasonCodeNeeded)

// Row describes an account at a server. A configured account that no request has needed
// yet is not Live and may have no origin.
type Row struct {
	Product, Account, Origin string

	// Purpose is "parent" for the session through which other accounts log in, the
	// user's name for a session that acts as a user, and empty otherwise.
	Purpose string

	Live  bool // there is a session
	Next  bool // next_password is in use
	State tokencache.State

	Reason           veeam.Reason
	Detail           string // of the failure; empty without one
	Success, Failure time.Time

	// Unreached is when a request has not reached the server, zero if the latest did.
	Unreached time.Time

	// Certificate is the certificate that the server presented last, also where it was
	// not trusted; nil if that is not known.
	Certificate *x509.Certificate

	// Pins are the fingerprints of which the certificate must have one; empty if the chain
	// is verified.
	Pins []tlspin.Fingerprint

	// TakesCode and TakesSecret report whether an operator may enter a verification code
	// or a one-time secret.
	TakesCode, TakesSecret bool

	user bool // who comes with requests
}

const (
	// LookAtSecretsEvery is the minimum time between two reads of the secrets of
	// accounts without a token for the list of sessions.
	LookAtSecretsEvery = 10 * time.Second

	// lookAtSecretsFor is how long that is waited for. A reading that takes longer
	// counts next time.
	lookAtSecretsFor = 250 * time.Millisecond
)

// Rows returns all sessions, and the configured accounts without one.
func (s *State) Rows(ctx context.Context) (rows []Row) {
	accounts := s.accounts.snapshot()
	for _, session := range s.Find("", "", "") {
		rows = append(rows, session.row())
	}
	known := make(map[configuredAccount]map[string]bool)
	busy := make(map[configuredAccount]bool)
	for _, r := range rows {
		if r.user {
			continue
		}
		key := configuredAccount{r.Product, r.Account}
		if known[key] == nil {
			known[key] = make(map[string]bool)
		}
		known[key][r.Origin] = true
		busy[key] = busy[key] || r.State.ExpiresIn > 0
	}
	var waiting []*account.Account
	for key, e := range accounts {
		for _, at := range e.servers {
			if !known[key][at.origin] {
				rows = append(rows, idle(key, at.origin))
			}
		}
		if len(e.servers) == 0 && len(known[key]) == 0 {
			rows = append(rows, idle(key, ""))
		}
		if !busy[key] {
			waiting = append(waiting, e.users...)
		}
	}
	lookAtSecrets(ctx, waiting)
	type found struct {
		fault *account.Fault
		at    time.Time
	}
	faults := make(map[configuredAccount]found, len(accounts)) // once for all servers of an account
	for key, e := range accounts {
		fault, at := e.fault()
		faults[key] = found{fault, at}
	}
	for i := range rows {
		key := configuredAccount{rows[i].Product, rows[i].Account}
		rows[i].judge(accounts[key], faults[key].fault, faults[key].at)
	}
	return rows
}

// idle is the row of an account that has no session.
func idle(a configuredAccount, origin string) Row {
	return Row{Product: a.product, Account: a.name, Origin: origin, State: tokencache.State{Status: tokencache.StatusNone}}
}

// Row returns the state of the session and its account.
func (s *Session) Row() Row {
	row := s.row()
	e := s.state.accounts.entry(configuredAccount{row.Product, row.Account})
	fault, at := e.fault()
	row.judge(e, fault, at)
	return row
}

func (s *Session) row() Row {
	purpose := s.key.user
	if s.key.parent {
		purpose = parentPurpose
	}
	state := s.State()
	if state.Suspended {
		state.Status = StatusCodeNeeded
	}
	row := Row{
		Product: s.key.product, Account: s.key.account, Origin: s.key.origin, Purpose: purpose,
		Live: true, Next: s.next.Load(), State: state, user: s.key.user != "",
	}
	if a := s.access.Load(); a != nil && !s.key.passthrough {
		row.TakesCode, row.TakesSecret = a.accepts(Entry{Grant: veeam.GrantMFA}) == nil, a.accepts(Entry{}) == nil
	}
	return row
}

// lookAtSecrets reads the secrets of accounts that use none now. Nothing is sent.
func lookAtSecrets(ctx context.Context, accounts []*account.Account) {
	ctx, cancel := context.WithTimeout(ctx, lookAtSecretsFor)
	defer cancel()
	for _, a := range accounts {
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		if a.Health() == nil || now.Sub(a.Health().Looked()).Abs() < LookAtSecretsEvery {
			continue
		}
		found := a.Read(ctx)
		if _, late := errors.AsType[*bounded.LateError](found.Err); !late {
			a.Health().Took(found.Err, now)
		}
	}
}

// judge finds the one reason of a row. e is its account, nil if it is not configured;
// fault and at are those of accountEntry.fault.
func (r *Row) judge(e *accountEntry, fault *account.Fault, at time.Time) {
	h := new(health)
	if e != nil && !r.user {
		if i, found := e.find(r.Origin); found {
			h = e.servers[i].health
		}
	}
	r.Success, r.Failure = later(r.State.Succeeded, h.success.Load()), later(time.Time{}, h.failure.Load())
	r.Certificate = h.certificate.Load()
	if pins := h.pins.Load(); pins != nil {
		r.Pins = *pins
	}
	r.Reason = veeam.ReasonNotLoggedIn
	if r.State.ExpiresIn > 0 {
		r.Reason = veeam.ReasonOK
	}
	if wire := h.wire.Load(); wire != nil {
		r.Reason, r.Detail, r.Unreached = wire.Reason, wire.Text, wire.At
	}
	if r.State.Cause != nil {
		r.Reason, r.Detail = veeam.ReasonOf(r.State.Cause), r.State.LastError
	}
	if fault != nil && !r.user {
		r.Reason, r.Detail = fault.Reason, fault.Text
		if at.After(r.Failure) {
			r.Failure = at
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

// Live returns all sessions and configured accounts for the metrics.
func (s *State) Live() (live []metrics.Session) {
	for _, r := range s.Rows(context.Background()) {
		m := metrics.Session{
			Product: r.Product, Account: r.Account,
			Reason: string(r.Reason), Healthy: r.Reason.Healthy(),
			Success: r.Success, Failure: r.Failure,
			Status: string(tokencache.StatusNone), Unused: !r.Live,
		}
		if r.Certificate != nil {
			m.CertificateEnd = r.Certificate.NotAfter
		}
		if r.Live {
			m.Login, m.Renewal, m.RefreshToken = r.State.Accepted, r.State.Renewed, r.State.RefreshSince
			m.Status, m.ExpiresIn, m.Waiting = string(r.State.Status), r.State.ExpiresIn, r.State.Waiting
			m.Held, m.Next = r.State.HeldFor > 0 && !r.State.Suspended, r.Next
			m.BudgetLeft, m.BudgetOf = r.State.Budget.Left, r.State.Budget.Of
			m.OfUser = r.user
		}
		live = append(live, m)
	}
	return live
}

// Caches reports whether the shared caches work; known is false if there is none. It
// finds that out now and then, and waits for a storage a moment at most.
func (s *State) Caches() (work, known bool) {
	ctx, cancel := context.WithTimeout(context.Background(), lookAtSecretsFor)
	defer cancel()
	work = true
	for _, cache := range s.caches.All() {
		cache.Look(ctx)
		work, known = work && cache.Works(), true
	}
	return work, known
}

// Storage returns a function that reports whether a storage works; known is false if nothing
// is attached to it. It finds that out as Caches does.
func Storage(shared *sealed.Store) func() (work, known bool) {
	return func() (work, known bool) {
		ctx, cancel := context.WithTimeout(context.Background(), lookAtSecretsFor)
		defer cancel()
		shared.Look(ctx)
		return shared.Works(), shared.Attached()
	}
}

// Checked records what a health check, or another request without a caller, has found
// out about a server, for all accounts that log in there: res is the answer, or nil.
func (s *Server) Checked(ctx context.Context, at Address, res *http.Response, err error) {
	for _, source := range s.sessions.sources.atAddress(at) {
		if err != nil {
			source.Missed(ctx, err, time.Now())
			continue
		}
		if source.health.presented(res.TLS, nil) || source.health.checksCertificate(time.Now()) {
			source.certified(nil, time.Now())
		}
		if source.health.wire.Load() != nil {
			source.health.reached(time.Now())
		}
	}
}
