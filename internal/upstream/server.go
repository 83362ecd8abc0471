// What the sessions of a transport share: a server product, the way to it, and the
// accounts that log in there.

package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// DefaultLoginTimeout is how long a server may take to answer one token request.
const DefaultLoginTimeout = 20 * time.Second

// DefaultMaxUsers is of how many users that come with requests sessions are kept.
const DefaultMaxUsers = 1000

// ServerOptions are what the sessions of one transport share.
type ServerOptions struct {
	// Product is what the servers run. Required.
	Product *veeam.Product

	// Transport carries the requests of logins. Required.
	Transport http.RoundTripper

	// APIVersion is the version that logins name. Default: one that the server serves.
	APIVersion string

	// LoginTimeout is how long a server may take to answer one token request. Default:
	// DefaultLoginTimeout.
	LoginTimeout time.Duration

	// Budget is how many tries with a wrong credential a user has. Default: the product's.
	Budget tokencache.Limit

	// RateLimit is the most token requests that one server is sent.
	RateLimit ratelimit.Rates

	// Accounts are those that are configured, prepared.
	Accounts []*account.Account

	// Cache shares sessions with other processes. Default: none.
	Cache *Cache

	// Tries keeps the tries of users for the next start. Required.
	Tries *tokencache.Shared

	// Session are options of each session; Server completes them.
	Session tokencache.Options

	// MaxUsers is of how many users that come with requests sessions are kept. Default:
	// DefaultMaxUsers.
	MaxUsers int

	// State is what outlives the configuration. Required.
	State *State

	Metrics *metrics.Set
	Log     *zap.Logger
}

// Server has the sessions of accounts at the servers of one transport.
type Server struct {
	ServerOptions

	sessions *sessions
	watch    *secretWatcher
}

// NewServer returns a server. It takes over the sessions of its accounts that another
// configuration has, and does no I/O. Close ends it.
func NewServer(options ServerOptions) *Server {
	options.LoginTimeout = cmp.Or(options.LoginTimeout, DefaultLoginTimeout)
	options.Budget = cmp.Or(options.Budget, tokencache.Limit(options.Product.Lockout))
	options.MaxUsers = cmp.Or(options.MaxUsers, DefaultMaxUsers)
	options.Session.GrantTimeout = max(tokencache.DefaultGrantTimeout, 3*options.LoginTimeout)
	carrier := options.Product.Presents()
	options.Session.Header, options.Session.Prefix = carrier.Header, carrier.Prefix
	s := &Server{ServerOptions: options}
	s.sessions = newSessions(options.State, options.Session, s.cacheID(), options.MaxUsers)
	s.sessions.inherit(options.Product.Name, options.Accounts)
	s.watch = newSecretWatcher(s)
	s.State.accounts.add(options.Product.Name, options.Accounts)
	for _, a := range options.Accounts {
		options.Metrics.Begin(options.Product.Name, a.Name)
	}
	return s
}

// Close lets go of the sessions.
func (s *Server) Close() {
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

// StepStore is where the verification codes that were used are remembered for other
// processes; nil without a cache.
func (s *Server) StepStore() veeam.StepStore {
	if s.Cache == nil {
		return nil
	}
	return s.Cache.Shared
}

// Client returns a new client for the server at a place. Grants, questions and
// commands talk to servers by no other. guard counts the tries of its credentials; nil
// counts none. Without a configured API version the client names the product's.
func (s *Server) Client(at Place, guard *Guard) *veeam.Client {
	client := &veeam.Client{
		Product: s.Product, Transport: s.Transport, BaseURL: at.BaseURL, Host: at.Host, APIVersion: s.APIVersion,
		Timeout: s.LoginTimeout, TOTPLedger: &s.State.codes, TOTPSteps: s.StepStore(),
	}
	if guard != nil {
		client.Guard = guard
	}
	return client
}

// Choose finds an account by its name; a UUID is a user for the account that acts as
// whom it is told.
func (s *Server) Choose(name string) (chosen *account.Account, user string) {
	return account.Choose(s.Accounts, name)
}

// Request is the request that a token is for. What a grant needs of it is taken when
// there is one.
type Request struct {
	// Values returns what remains of the context of the request for a grant, which may
	// outlive it: how to dial the server.
	Values func(context.Context) context.Context

	Journal journal.Journal
}

// Source returns what hands out the tokens of an account at an address. name is that of
// the account, empty for the first one, or the UUID of the user as whom an account acts
// that is told whom with each request. place tells about the address, the first time. The
// error is an *account.UnknownError.
func (s *Server) Source(at Address, name string, place func() Place) (*Source, error) {
	chosen, user := s.Choose(name)
	if chosen == nil || chosen.Template() && user == "" {
		return nil, &account.UnknownError{Name: name}
	}
	key := sourceKey{account: chosen.Name, Address: at, user: user}
	return s.sessions.source(key, func() *Source { return s.newSource(key, chosen, place()) }), nil
}

func (s *Server) newSource(key sourceKey, a *account.Account, at Place) *Source {
	source := &Source{server: s, account: a, key: key, place: at, turn: newParentTurn(), health: new(health)}
	source.rotation.sessions = source
	source.touch(time.Now())
	if key.user == "" {
		source.health = s.State.accounts.at(s.Product.Name, a.Name, at.Origin)
		s.watch.add(a)
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
	options.Shared = s.Cache.Shared
	options.Identity = tokencache.Identity{Product: key.product, Origin: key.origin, Account: key.account, Credential: digest}
	switch {
	case key.parent:
		options.Identity.Purpose, options.HoldOnly = parentPurpose, true
	case key.user != "":
		options.Identity.Purpose = "user " + key.user
	}
	options.ReadExtra = readShape
	options.ReasonOf = func(err error) string { return string(veeam.ReasonOf(err)) }
	return options
}

// parentPurpose marks the records of sessions with which accounts serve others.
const parentPurpose = "parent"

func readShape(raw json.RawMessage) any {
	shape := new(veeam.Shape)
	if len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, shape) != nil {
		return nil
	}
	return shape
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
	if sources := s.sessions.sources.Load(); sources != nil {
		found.Sources = len(*sources)
	}
	s.sessions.mu.Lock()
	found.Sessions = len(s.sessions.held)
	s.sessions.mu.Unlock()
	s.watch.mu.Lock()
	found.Watching = s.watch.running && s.watch.ctx.Err() == nil
	s.watch.mu.Unlock()
	return found
}

// InUse is the session that requests of an account use, an empty name standing for any
// account; nil if no request has needed one.
func (s *Server) InUse(name string) *Session {
	sources := s.sessions.sources.Load()
	if sources == nil {
		return nil
	}
	for key, source := range *sources {
		current := source.rotation.current.Load()
		if !key.parent && cmp.Or(name, key.account) == key.account && current != nil {
			return current.session
		}
	}
	return nil
}
