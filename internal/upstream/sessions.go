// Sessions of the process, and how a transport finds the one for a request.

package upstream

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// sessionKey tells sessions apart. Two sites with the same key share one
// session; a changed secret has a key of its own.
type sessionKey struct {
	origin, product, account, fingerprint string

	// parent tells the session with which an account serves others from the one
	// with which it serves requests: the server may take a refresh token that
	// was given away for used.
	parent bool

	user string // to act as, if it came with the request

	passthrough bool // the user has logged in with its own credential

	cache string // where it is kept for other processes, see Cache
}

// Session is a session in the pool.
type Session struct {
	*tokencache.Session
	state   *State
	key     sessionKey
	ender   atomic.Pointer[access] // how to log out: that of the latest login or renewal
	ended   atomic.Bool            // nobody holds it any more
	used    atomic.Bool            // the secret is valid for one login and was sent
	refused atomic.Bool            // the server has refused the credential, at the latest try
	next    atomic.Bool            // next_password is in use

	sources credentials // that it logs in with

	challenge atomic.Pointer[challenge] // that nobody has answered
	coded     atomic.Bool               // the server has asked for a code that a person has to enter
	codes     codes                     // that were entered
	entry     atomic.Pointer[entry]     // for the next login
	entering  sync.Mutex                // held by the operator who enters something

	flight tracing.Flight // of the latest grant

	access atomic.Pointer[access] // of the latest request without a token, for an operator who wants a login
}

// credentials are those that lead to one session: the first ones of each source, which are
// few. The zero value is ready for use.
type credentials struct {
	mu    sync.Mutex
	known []*account.Secrets
}

// add adds credentials, unless there are some of their source.
func (c *credentials) add(added *account.Secrets) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ofLocked(added.Source) == nil {
		c.known = append(c.known, added)
	}
}

// of returns the credentials of a source, nil if there are none.
func (c *credentials) of(source string) *account.Secrets {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ofLocked(source)
}

func (c *credentials) ofLocked(source string) *account.Secrets {
	for _, known := range c.known {
		if known.Source == source {
			return known
		}
	}
	return nil
}

// acquire makes the caller a user of a session, which it shares with other
// configurations and servers.
func (s *State) acquire(key sessionKey, options tokencache.Options) *Session {
	return s.sessions.Acquire(key, func() *Session {
		session := &Session{state: s, key: key}
		options.Discard, options.Turned, options.Joined = session.discard, session.turned, joined
		if !options.HoldOnly { // of the others, the book tells
			options.LeftBehind = session.leftBehind
		}
		session.Session = tokencache.NewSession(options)
		return session
	})
}

// sessions are those that one transport uses.
type sessions struct {
	state   *State
	options tokencache.Options
	cache   string                         // the id of the cache
	sources *sources                       // of the accounts
	users   *lru.Cache[sourceKey, *Source] // those whose user came with the request

	mu        sync.Mutex
	held      map[*Session]bool
	inherited inherited
	expiry    *time.Timer // of the inherited ones
	released  bool
}

// newSessions returns a transport's sessions. At most maxUsers of them are of
// users that come with requests; the one that was not used for the longest time
// makes room.
func newSessions(state *State, options tokencache.Options, cache string, accounts []*account.Account, maxUsers int) *sessions {
	s := &sessions{state: state, options: options, cache: cache, sources: newSources(accounts), held: make(map[*Session]bool)}
	users, err := lru.NewWithEvict(maxUsers, func(_ sourceKey, evicted *Source) { evicted.evict() })
	if err != nil {
		panic(err) // the size is checked before
	}
	s.users = users
	return s
}

// inherited are those of the held sessions that no request has needed yet, by their keys
// without the fingerprint of the secrets.
type inherited map[sessionKey][]*Session

// butSecrets is the key without the fingerprint of the secrets.
func (k sessionKey) butSecrets() sessionKey {
	k.fingerprint = ""
	return k
}

func (i inherited) add(session *Session) {
	key := session.key.butSecrets()
	i[key] = append(i[key], session)
}

func (i inherited) remove(key sessionKey) {
	alike := i[key.butSecrets()]
	if alike = slices.DeleteFunc(alike, func(session *Session) bool { return session.key == key }); len(alike) > 0 {
		i[key.butSecrets()] = alike
	} else {
		delete(i, key.butSecrets())
	}
}

// sessionGroup is what transports look for sessions by that they inherit.
type sessionGroup struct {
	product, cache, account string
	passthrough             bool // of all accounts
}

func (k sessionKey) group() any {
	if k.passthrough {
		return sessionGroup{product: k.product, cache: k.cache, passthrough: true}
	}
	return sessionGroup{product: k.product, cache: k.cache, account: k.account}
}

// inherit takes over the sessions of the accounts that live already.
func (s *sessions) inherit(product string, accounts []*account.Account) {
	groups := append(make([]sessionGroup, 0, len(accounts)+1), sessionGroup{product: product, cache: s.cache, passthrough: true})
	for _, a := range accounts {
		groups = append(groups, sessionGroup{product: product, cache: s.cache, account: a.Name})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inherited = make(inherited)
	for _, group := range groups {
		for _, session := range s.state.sessions.Group(group) {
			if session.key.passthrough || session.key.user == "" {
				s.inherited.add(s.holdLocked(session.key, session.Options()))
			}
		}
	}
	if len(s.inherited) > 0 {
		s.expiry = time.AfterFunc(InheritFor, s.dropInherited)
	}
}

// InheritFor is how long a configuration keeps sessions of the one before it that no
// request needs. Without the limit, the session at a server that is no longer
// configured would be kept for ever.
const InheritFor = 15 * time.Minute

func (s *sessions) dropInherited() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, alike := range s.inherited {
		for _, session := range slices.Clone(alike) {
			s.dropLocked(session)
		}
	}
}

// hold makes the transport a user of a session, once.
func (s *sessions) hold(key sessionKey, options tokencache.Options) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inherited.remove(key)
	return s.holdLocked(key, options)
}

// others are the sessions that were inherited of the same account with other
// secrets.
func (s *sessions) others(key sessionKey) []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.inherited[key.butSecrets()])
}

// dropOthers lets go of them, except where key is that of a passthrough user: there they
// are other clients.
func (s *sessions) dropOthers(key sessionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key.passthrough {
		return
	}
	for _, other := range slices.Clone(s.inherited[key.butSecrets()]) {
		s.dropLocked(other)
	}
}

func (s *sessions) holdLocked(key sessionKey, options tokencache.Options) *Session {
	session := s.state.acquire(key, options)
	if s.held[session] || s.released { // released: a last request of a replaced configuration
		s.state.sessions.Release(key)
		return session
	}
	s.held[session] = true
	return session
}

func (s *sessions) drop(session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(session)
}

func (s *sessions) dropLocked(session *Session) {
	s.inherited.remove(session.key)
	if s.held[session] {
		delete(s.held, session)
		s.state.sessions.Release(session.key)
	}
}

// release lets go of all sessions.
func (s *sessions) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session := range s.held {
		s.state.sessions.Release(session.key)
	}
	clear(s.held)
	clear(s.inherited)
	if s.expiry != nil {
		s.expiry.Stop()
	}
	s.released = true
}

// gone reports whether the sessions were released.
func (s *sessions) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.released
}

// userSource is source for a user that came with the request.
func (s *sessions) userSource(key sourceKey, create func() *Source) (found *Source, added bool) {
	if found, ok := s.users.Get(key); ok {
		return found, false
	}
	fresh := create()
	if found, ok, _ := s.users.PeekOrAdd(key, fresh); ok {
		return found, false
	}
	return fresh, true
}

// MaxAddresses is the maximum number of upstream addresses with sessions. Dynamic
// upstreams change their addresses.
const MaxAddresses = 1000

// source finds the place of an account at an upstream, without a lock if it has
// been there before. The address that was not used for the longest time makes
// room.
func (s *sessions) source(key sourceKey, create func() *Source) *Source {
	if key.user != "" {
		found, _ := s.userSource(key, create)
		return found
	}
	if found := s.sources.get(key); found != nil {
		return found
	}
	found, left := s.sources.add(key, create)
	for _, other := range left {
		other.evict()
	}
	return found
}
