// The place of an account at an upstream: from a request to a token.

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

	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
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
	guest     *guest // who logs in instead of the account, or nil
	key       slotKey
	target    target

	current atomic.Pointer[login]
	version atomic.Pointer[string] // of the API, as found out

	mu      sync.Mutex
	read    time.Time // when the secrets were read last
	evicted bool

	turn *parentTurn
	idle *idleness // of a guest
}

// target is where a slot's account logs in.
type target struct {
	origin  string // tells targets apart
	baseURL string
}

// login is a session with the credentials that it logs in with.
type login struct {
	session     *pooledSession
	credentials *credentials
}

// token returns a token for req, and the session that it belongs to. With a
// token at hand it takes no lock and allocates nothing.
func (s *slot) token(req *http.Request, e *exchange) (*tokencache.Token, *tokencache.Session, error) {
	if s.idle != nil {
		s.idle.used()
	}
	if l := s.current.Load(); l != nil {
		tok, due := l.session.Current(time.Now())
		if tok != nil {
			if due {
				ctx := s.grantContext(req)
				l.session.Renew(ctx, s.grant(ctx, l, s.clientVersion(req), e.journal))
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
	return l.session.Get(waitContext{req.Context(), ctx}, s.grant(ctx, l, s.clientVersion(req), e.journal))
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
	resolved, err := s.resolve()
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
	if s.key.user != "" && s.guest == nil {
		resolved.account.UserUID = s.key.user
	}
	sessions := s.transport.sessions
	key := sessionKey{
		origin:      s.target.origin,
		product:     s.transport.product.Name,
		account:     s.account.Name,
		fingerprint: resolved.fingerprint,
		parent:      s.key.parent,
		user:        s.key.user,
		cache:       sessions.cache.id(),
	}
	if s.guest != nil {
		key.user, key.guest = s.guest.account.Username, true
	}
	options := sessions.cache.options(sessions.options, key, s.account.grant(), resolved.digest)
	next := &login{credentials: resolved, session: sessions.hold(key, options)}
	if s.evicted {
		s.transport.sessions.drop(next.session.key) // for the requests under way only
	}
	s.current.Store(next)
	if l != nil {
		s.transport.sessions.drop(l.session.key)
	}
	return next, nil
}

// resolve reads the secrets of whoever logs in.
func (s *slot) resolve() (*credentials, error) {
	if s.guest != nil {
		return s.guest.credentials(s.transport), nil
	}
	return s.account.resolve()
}

// evict lets go of the session.
func (s *slot) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicted = true
	if l := s.current.Load(); l != nil {
		s.transport.sessions.drop(l.session.key)
	}
}

// clientVersion is the API version that the client names.
func (s *slot) clientVersion(req *http.Request) string {
	if header := s.transport.product.Version.Header; header != "" {
		return req.Header.Get(header)
	}
	return ""
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
