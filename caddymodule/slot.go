// The place of an account at an upstream: from a request to a token.

package caddymodule

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	// resolveEvery is how often the secrets of an account without a token are
	// read again.
	resolveEvery = time.Second

	// resolveHeldEvery is the same for an account whose credential was refused.
	resolveHeldEvery = 100 * time.Millisecond
)

// slot is an account at an upstream: its secrets as last read, and the sessions
// that they lead to.
type slot struct {
	transport *Transport
	account   *account.Account
	guest     *guest // who logs in instead of the account, or nil
	key       slotKey
	target    target

	current atomic.Pointer[login]  // that requests use
	version atomic.Pointer[string] // of the API, as found out
	health  *health
	bearing bearing

	mistaken atomic.Bool // it was said that the server is of another product

	mu           sync.Mutex
	read         time.Time // when the secrets were read last
	readNext     time.Time // next_password
	configured   *login    // with the secrets as they are configured
	next         *login    // with next_password, once that was needed
	past         []*login  // with secrets that were configured once, and refused
	changing     sighting  // of configured
	changingNext sighting  // of next
	latest       occasion
	trying       bool      // configured is being tried in the background
	tryAfter     time.Time // not before
	evicted      bool

	turn *parentTurn
	idle *idleness    // of a guest
	used atomic.Int64 // latest, unix seconds
}

// target is where a slot's account logs in.
type target struct {
	origin  string // tells targets apart
	baseURL string
	host    string // in the header Host
}

// login is a session with the credentials that it logs in with.
type login struct {
	session     *pooledSession
	credentials *account.Secrets
	next        bool // with next_password

	// kept is a session whose secret is configured no more. It is renewed as long
	// as that goes; what would need the secret is not done any more.
	kept atomic.Bool
}

// occasion is what a grant takes from the request that causes it.
type occasion struct {
	values  context.Context // see grantContext
	journal journal.Journal
}

func (s *slot) occasion(req *http.Request, e *exchange) occasion {
	return occasion{values: s.grantContext(req), journal: e.journal}
}

// token returns a token for req, and the session that it belongs to. With a
// token at hand it takes no lock and allocates nothing.
func (s *slot) token(req *http.Request, e *exchange) (*tokencache.Token, *tokencache.Session, error) {
	if s.idle != nil {
		s.idle.used()
	}
	if l := s.current.Load(); l != nil {
		now := time.Now()
		tok, due := l.session.Current(now)
		if tok != nil {
			s.touch(now)
			if due {
				o := s.occasion(req, e)
				s.transport.watch.start()
				l.session.Renew(o.values, s.grant(o.values, l, o.journal))
			}
			return tok, l.session.Session, nil
		}
	}
	return s.obtain(req.Context(), s.occasion(req, e))
}

// touch takes down that the slot is used. It seldom writes what all requests read.
func (s *slot) touch(now time.Time) {
	if seconds := now.Unix(); s.used.Load() != seconds {
		s.used.Store(seconds)
	}
}

// sessionKey is the key of the session with these credentials.
func (s *slot) sessionKey(c *account.Secrets) sessionKey {
	key := sessionKey{
		origin:      s.target.origin,
		product:     s.transport.product.Name,
		account:     s.account.Name,
		fingerprint: c.Fingerprint,
		parent:      s.key.parent,
		user:        s.key.user,
		cache:       s.transport.sessions.cache.id(),
	}
	if s.guest != nil {
		key.user, key.guest = s.guest.account.Username, true
	}
	return key
}

// evict lets go of the session.
func (s *slot) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicted = true
	if s.key.user == "" {
		configuredAccounts.forget(s.transport.product.Name, s.account.Name, s.target.origin)
	}
	for _, l := range append(slices.Clone(s.past), s.current.Load(), s.configured, s.next) {
		if l != nil {
			s.transport.sessions.drop(l.session.key)
		}
	}
}

// waitContext ends with the request and has the values of a grant.
type waitContext struct {
	context.Context
	values context.Context
}

func (w waitContext) Value(key any) any { return w.values.Value(key) }

// grantContext is what a grant needs of the context of a request: where the
// upstream is that was chosen for it. Nothing else goes over, because all share
// the session.
func (s *slot) grantContext(req *http.Request) context.Context {
	ctx := req.Context()
	g := grantContext{vars: map[string]any{}, values: map[any]any{}}
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
