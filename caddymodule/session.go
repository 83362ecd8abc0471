// Sessions of the process, and how a transport finds the one for a request.

package caddymodule

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// sessionKey tells sessions apart. Two sites with the same key share one
// session; a changed secret has a key of its own.
type sessionKey struct {
	origin, product, account, fingerprint string
}

// pooledSession is a session with what the pool needs.
type pooledSession struct {
	*tokencache.Session
	key   sessionKey
	ender atomic.Pointer[ender] // how to log out
}

// sessionPool holds the live sessions of the process. A configuration that is
// loaded takes over those of its accounts before the one that it replaces lets
// go of them, so a reload costs no login.
var sessionPool = caddy.NewUsagePool()

func acquireSession(key sessionKey, options tokencache.Options) *pooledSession {
	value, _, _ := sessionPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &pooledSession{Session: tokencache.NewSession(options), key: key}, nil
	})
	return value.(*pooledSession)
}

func releaseSession(key sessionKey) { _, _ = sessionPool.Delete(key) }

// liveSessions tells the metrics about all sessions.
func liveSessions() (live []metrics.Session) {
	sessionPool.Range(func(_, value any) bool {
		s := value.(*pooledSession)
		state := s.State()
		live = append(live, metrics.Session{
			Product:   s.key.product,
			Account:   s.key.account,
			Status:    string(state.Status),
			ExpiresIn: state.ExpiresIn,
			Held:      state.HeldFor > 0,
			Waiting:   state.Waiting,
		})
		return true
	})
	return live
}

// sessions are those that one transport uses.
type sessions struct {
	options tokencache.Options
	slots   atomic.Pointer[map[slotKey]*slot] // replaced, never written to

	mu       sync.Mutex
	held     map[sessionKey]bool
	released bool
}

// slotKey is what a request selects: an account at an upstream.
type slotKey struct {
	account, network, address string
}

// inherit takes over the sessions of the accounts that live already.
func (s *sessions) inherit(product string, accounts []*Account) {
	s.held = make(map[sessionKey]bool)
	names := make(map[string]bool, len(accounts))
	for _, a := range accounts {
		names[a.Name] = true
	}
	var keys []sessionKey
	sessionPool.Range(func(key, _ any) bool {
		if k := key.(sessionKey); k.product == product && names[k.account] {
			keys = append(keys, k)
		}
		return true
	})
	for _, key := range keys {
		s.hold(key)
	}
}

// hold makes the transport a user of a session, once.
func (s *sessions) hold(key sessionKey) *pooledSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := acquireSession(key, s.options)
	if s.held[key] || s.released { // released: a last request of a replaced configuration
		releaseSession(key)
		return session
	}
	s.held[key] = true
	return session
}

func (s *sessions) drop(key sessionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[key] {
		delete(s.held, key)
		releaseSession(key)
	}
}

// release lets go of all sessions.
func (s *sessions) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.held {
		releaseSession(key)
	}
	clear(s.held)
	s.released = true
}

// slot finds the place of an account at an upstream, without a lock if it has
// been there before.
func (s *sessions) slot(key slotKey, create func() *slot) *slot {
	if known := s.slots.Load(); known != nil {
		if found, ok := (*known)[key]; ok {
			return found
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[slotKey]*slot{}
	if known := s.slots.Load(); known != nil {
		if found, ok := (*known)[key]; ok {
			return found
		}
		// Dynamic upstreams come and go: what is not used is found again.
		if len(*known) < maxSlots {
			next = maps.Clone(*known)
		}
	}
	added := create()
	next[key] = added
	s.slots.Store(&next)
	return added
}

const (
	maxSlots = 10_000

	// resolveEvery is how often the secrets of an account without a token are
	// read again.
	resolveEvery = time.Second

	// resolveHeldEvery is the same for an account whose credential was refused.
	resolveHeldEvery = 100 * time.Millisecond
)

// slot is an account at an upstream: its secrets as last read, and the session
// that they lead to.
type slot struct {
	transport *Transport
	account   *Account
	origin    string

	current atomic.Pointer[login]
	mu      sync.Mutex
	read    time.Time // when the secrets were read last
}

// login is a session with the credentials that it logs in with.
type login struct {
	session     *pooledSession
	credentials *credentials
}

// token returns a token for req, and the session that it belongs to. With a
// token at hand it takes no lock and allocates nothing.
func (s *slot) token(req *http.Request, e *exchange) (*tokencache.Token, *tokencache.Session, error) {
	if l := s.current.Load(); l != nil {
		tok, due := l.session.Current(time.Now())
		if tok != nil {
			if due {
				ctx := s.grantContext(req)
				l.session.Renew(ctx, s.grant(ctx, l, req, e))
			}
			return tok, l.session.Session, nil
		}
	}
	l, err := s.login(resolveEvery)
	if err != nil {
		return nil, nil, err
	}
	tok, err := s.get(l, req, e)
	var blocked *tokencache.BlockedError
	if errors.As(err, &blocked) && blocked.Held {
		// The secret may have been replaced since it was read.
		if again, errAgain := s.login(resolveHeldEvery); errAgain == nil && again.session != l.session {
			l = again
			tok, err = s.get(l, req, e)
		}
	}
	return tok, l.session.Session, err
}

func (s *slot) get(l *login, req *http.Request, e *exchange) (*tokencache.Token, error) {
	ctx := s.grantContext(req)
	return l.session.Get(waitContext{req.Context(), ctx}, s.grant(ctx, l, req, e))
}

// login reads the secrets, unless that was done less than maxAge ago, and finds
// the session that goes with them.
func (s *slot) login(maxAge time.Duration) (*login, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.current.Load()
	if l != nil && time.Since(s.read) < maxAge {
		return l, nil
	}
	resolved, err := s.account.resolve()
	if err != nil {
		if l != nil {
			return l, nil // it was there before: it is being replaced
		}
		return nil, err
	}
	s.read = time.Now()
	if l != nil && l.credentials.fingerprint == resolved.fingerprint {
		return l, nil
	}
	next := &login{credentials: resolved, session: s.transport.sessions.hold(sessionKey{
		origin:      s.origin,
		product:     s.transport.product.Name,
		account:     s.account.Name,
		fingerprint: resolved.fingerprint,
	})}
	s.current.Store(next)
	if l != nil {
		s.transport.sessions.drop(l.session.key)
	}
	return next, nil
}

// waitContext ends with the request and has the values of a grant.
type waitContext struct {
	context.Context
	values context.Context
}

func (w waitContext) Value(key any) any { return w.values.Value(key) }

// grantContext prepares what a grant for this request needs of its context. It
// is called in the request's own goroutine, where its variables may be read.
func (s *slot) grantContext(req *http.Request) context.Context {
	ctx := req.Context()
	g := grantContext{vars: map[string]any{}, values: map[any]any{}}
	if vars, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		maps.Copy(g.vars, vars)
		delete(g.vars, exchangeVar)
	}
	g.values[caddyhttp.ServerCtxKey] = ctx.Value(caddyhttp.ServerCtxKey)
	repl := caddy.NewReplacer()
	g.values[caddy.ReplacerCtxKey] = repl
	if dial, ok := reverseproxy.GetDialInfo(ctx); ok {
		g.values[dialInfoKey] = dial
		repl.Set("http.reverse_proxy.upstream.address", dial.String())
		repl.Set("http.reverse_proxy.upstream.hostport", dial.Address)
		repl.Set("http.reverse_proxy.upstream.host", dial.Host)
		repl.Set("http.reverse_proxy.upstream.port", dial.Port)
	}
	return g
}

// dialInfoKey is the context key of reverse_proxy's DialInfo, which has no
// exported name. TestTheDialInfoOfAGrantIsFound holds it to the truth.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"
