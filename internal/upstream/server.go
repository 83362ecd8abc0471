// What the sessions of a transport share: a server product, the way to it, and the
// accounts that log in there.

package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// DefaultLoginTimeout is how long a server may take to answer one token request.
const DefaultLoginTimeout = 20 * time.Second

// DefaultMaxUsers is the default of ServerOptions.MaxUsers.
const DefaultMaxUsers = 1000

// ServerOptions are the options of a Server.
type ServerOptions struct {
	// Product is the product of the servers. Required.
	Product *veeam.Product

	// Transport sends the requests of logins. Required.
	Transport http.RoundTripper

	// APIVersion is the API version of logins. Default: one that the server serves.
	APIVersion string

	// LoginTimeout is how long a server may take to answer one token request. Default:
	// DefaultLoginTimeout.
	LoginTimeout time.Duration

	// Budget limits how many wrong credentials of a user are sent. Default: the
	// product's.
	Budget lockout.Limit

	// RateLimit limits the token requests to one server.
	RateLimit ratelimit.Rates

	// Accounts are the configured accounts, prepared.
	Accounts []*account.Account

	// Cache shares sessions with other processes. Default: none.
	Cache *Cache

	// Tries stores the tries of users, so that a restart does not reset them, and which
	// sessions are open, so that the next process ends those that this one leaves behind.
	// Required.
	Tries *sealed.Store

	// NoRecords reports whether sessions are not written down in Tries. Default: false.
	NoRecords bool

	// Session has the options of each session, which Server completes.
	Session tokencache.Options

	// Pins are the fingerprints of which the certificate of a server must have one.
	// Default: none, the chain is verified.
	Pins []tlspin.Fingerprint

	// MaxUsers is how many sources of users that requests name are kept. Default:
	// DefaultMaxUsers.
	MaxUsers int

	// State is the state that outlives the configuration. Required.
	State *State

	Metrics *metrics.Set
	Log     *zap.Logger
}

// Server has the sessions of the accounts of one transport.
type Server struct {
	ServerOptions

	sessions *sessions
	watch    *secretWatcher
	fixed    []Fixed // known from the start; nil before Begin
	atStart  bool    // the accounts log in there when the configuration starts
	journal  journal.Journal
	shapes   *shapes
}

// NewServer returns a server. It takes over the sessions of its accounts that an
// earlier configuration has, and does no I/O. Call Close when it is no longer used.
func NewServer(options ServerOptions) *Server {
	options.LoginTimeout = cmp.Or(options.LoginTimeout, DefaultLoginTimeout)
	options.Budget = cmp.Or(options.Budget, lockout.Limit(options.Product.Lockout))
	options.MaxUsers = cmp.Or(options.MaxUsers, DefaultMaxUsers)
	options.Session.GrantTimeout = max(tokencache.DefaultGrantTimeout, 3*options.LoginTimeout)
	carrier := options.Product.Presents()
	options.Session.Header, options.Session.Prefix = carrier.Header, carrier.Prefix
	s := &Server{ServerOptions: options, shapes: new(shapes)}
	s.sessions = newSessions(options.State, options.Session, s.cacheID(), options.Accounts, options.MaxUsers)
	s.sessions.inherit(options.Product.Name, options.Accounts)
	s.watch = newSecretWatcher(s)
	s.State.accounts.add(options.Product.Name, options.Accounts)
	s.State.servers.add(s)
	options.Metrics.Begin(options.Product.Name)
	for _, a := range options.Accounts {
		options.Metrics.BeginAccount(options.Product.Name, a.Name)
	}
	return s
}

// Close releases the sessions.
func (s *Server) Close() {
	s.State.servers.remove(s)
	s.State.books.end(s)
	s.State.accounts.remove(s.Product.Name, s.Accounts)
	s.watch.end()
	s.sessions.release()
}

// cacheID tells caches apart; empty without one.
func (s *Server) cacheID() string {
	if s.Cache == nil {
		return ""
	}
	return s.Cache.ID
}

// TOTPSteps returns the store that records used verification codes for other processes.
// It is nil without a cache.
func (s *Server) TOTPSteps() totp.Steps {
	if s.Cache == nil {
		return nil
	}
	return s.Cache.Store
}

// Client returns a new client for the server at a place. It is the only way to talk to
// servers, for logins and commands alike. guard counts wrong credentials and may be
// nil. If no API version is configured, the client sends the product's default.
func (s *Server) Client(at Place, guard *Guard) *veeam.Client {
	client := &veeam.Client{
		Product: s.Product, Transport: s.Transport, BaseURL: at.BaseURL, Host: at.Host, APIVersion: s.APIVersion,
		Timeout: s.LoginTimeout, TOTPLedger: &s.State.codes, TOTPSteps: s.TOTPSteps(),
	}
	if guard != nil {
		client.Guard = guard
	}
	return client
}

// Choose returns the account of a name. A UUID is the user that an account acts as
// which is configured for users that requests name.
func (s *Server) Choose(name string) (chosen *account.Account, user string) {
	return s.sessions.sources.accounts.Choose(name)
}

// Request is the request that needs a token. A grant takes its values from the request
// that causes it.
type Request struct {
	// Values returns a context for a grant, which may outlive the request. It has what
	// is needed to dial the server.
	Values func(context.Context) context.Context

	Journal journal.Journal

	// Operation is the operation of the request, for its spans.
	Operation operation.Operation
}

// Source returns the source of an account's tokens at an address. name is that of the
// account, or empty for the first one, or the UUID of a user that requests name. place
// returns the place of the address and is called for the first source there. The error
// is an *account.UnknownError.
func (s *Server) Source(at Address, name string, place func() Place) (*Source, error) {
	entry, user := s.sessions.sources.accounts.Find(name)
	if entry == nil || entry.Template && user == "" {
		return nil, &account.UnknownError{Name: name}
	}
	if user == "" { // of many accounts, most are in no cache of the processor: nothing else of it is read
		if found := entry.Kept.get(sourceAt{Address: at}); found != nil {
			return found, nil
		}
	}
	key := sourceKey{account: entry.Account.Name, Address: at, user: user}
	return s.sessions.source(key, func() *Source { return s.newSource(key, entry.Account, place()) }), nil
}

func (s *Server) newSource(key sourceKey, a *account.Account, at Place) *Source {
	source := &Source{server: s, account: a, key: key, place: at, health: new(health), lookups: s.Metrics.SessionLookups(s.Product.Name, a.Name)}
	source.rotation.sessions = source
	source.touch(time.Now())
	if key.user == "" {
		source.health = s.State.accounts.at(s.Product.Name, a.Name, at.Origin)
		source.health.pins.Store(&s.Pins)
		s.watch.add(a)
	}
	if key.parent {
		source.turn = source.health.turn()
	}
	source.version.Store(s.State.versions.get(s.Product.Name, at.Origin))
	return source
}

// cached completes the options of a session. The session with which an account
// serves others is not shared: its refresh token is used in turns, which only
// one process can keep. Neither is an API key, which is not a session.
func (s *Server) cached(options tokencache.Options, key sessionKey, grant veeam.Grant, digest secret.Value) tokencache.Options {
	if s.Cache == nil || grant == veeam.GrantAPIKey {
		return options
	}
	options.Shared = s.Cache.Store
	options.Identity = tokencache.Identity{Product: key.product, Origin: key.origin, Account: key.account, Credential: digest}
	switch {
	case key.parent:
		options.Identity.Purpose, options.HoldOnly = parentPurpose, true
	case key.user != "":
		options.Identity.Purpose = "user " + key.user
	}
	options.ReadExtra = s.shapes.read
	options.ReasonOf = func(err error) string { return string(veeam.ReasonOf(err)) }
	return options
}

// parentPurpose marks the records of sessions with which accounts serve others.
const parentPurpose = "parent"

// shapes keeps a shape once that the answers to most accounts have. Sessions hold it, which
// outlive the Server.
type shapes struct{ latest atomic.Pointer[veeam.Shape] }

// shared returns the latest shape that equals this one.
func (s *shapes) shared(shape *veeam.Shape) *veeam.Shape {
	latest := s.latest.Load()
	switch {
	case shape == nil:
		return nil
	case latest.Equal(shape):
		return latest
	}
	s.latest.Store(shape)
	return shape
}

// read is Options.ReadExtra of sessions.
func (s *shapes) read(raw json.RawMessage) any {
	shape := new(veeam.Shape)
	if len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, shape) != nil {
		return nil
	}
	return s.shared(shape)
}

// Inspection counts what a server holds, for tests and diagnosis.
type Inspection struct {
	Sources  int  // sources of configured accounts
	Users    int  // sources of users that requests name, and of passthrough users
	Sessions int  // live sessions
	Watching bool // files with secrets are being watched
}

// Inspect counts what the server holds.
func (s *Server) Inspect() Inspection {
	found := Inspection{Users: s.sessions.users.Len()}
	for range s.sessions.sources.all() {
		found.Sources++
	}
	s.sessions.mu.Lock()
	found.Sessions = len(s.sessions.held)
	s.sessions.mu.Unlock()
	s.watch.mu.Lock()
	found.Watching = s.watch.running && s.watch.ctx.Err() == nil
	s.watch.mu.Unlock()
	return found
}

// InUse returns the session that requests of an account use, nil if no request has
// needed one. An empty name selects any account.
func (s *Server) InUse(name string) *Session {
	sources := s.sessions.sources.of(name)
	if name == "" {
		sources = s.sessions.sources.all()
	}
	for source := range sources {
		current := source.rotation.current.Load()
		if !source.key.parent && current != nil {
			return current.session
		}
	}
	return nil
}
