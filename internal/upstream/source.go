// A source: what hands out the tokens of an account at a server.

package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	// ResolveEvery is the minimum time between two reads of the secrets of an account
	// without a token.
	ResolveEvery = time.Second

	// ResolveHeldEvery is the same for an account whose credential was refused.
	ResolveHeldEvery = 100 * time.Millisecond

	// RetireAfter is how long a session that was replaced is kept for requests that
	// still use it.
	RetireAfter = 2 * time.Second
)

// Source is an account at an upstream. It returns tokens. Its rotation decides which
// secret of the account they come from.
type Source struct {
	// What each request reads comes first: of many sources, most are in no cache of the
	// processor, which fetches 64 bytes at a time.
	key      sourceKey
	used     atomic.Int64    // latest, unix seconds
	at       *addressSources // that it is one of, nil for a user's
	health   *health
	server   *Server
	version  atomic.Pointer[string] // of the API, as found out
	lookups  metrics.SessionLookups
	rotation rotation

	account     *account.Account
	passthrough *Passthrough // the user that logs in instead of the account, or nil
	place       Place
	bearing     bearing

	mistaken atomic.Bool // it was said that the server is of another product

	latest atomic.Pointer[cause] // of the last request without a token

	mu       sync.Mutex // of what was read; taken before that of rotation
	read     debounce   // of the secrets
	nextRead debounce   // of next_password

	turn *parentTurn // nil unless it serves other accounts
}

// cause is what a grant takes from the request that causes it. It does not change.
type cause struct {
	values  context.Context // see Request.Values
	journal journal.Journal
}

// Token returns a token for a request and the session that it belongs to. If the
// session has a token, it takes no lock and allocates nothing.
func (s *Source) Token(ctx context.Context, r Request) (*tokencache.Token, *tokencache.Session, error) {
	if l := s.rotation.current.Load(); l != nil {
		now := time.Now()
		tok, due := l.session.Current(now)
		if tok != nil {
			s.touch(now)
			s.lookups.Hit.Inc()
			if due && l.session.MayRenew(now) {
				o := &cause{values: r.Values(ctx), journal: r.Journal}
				s.server.watch.start()
				l.session.Renew(o.values, s.granter(l, o).get)
			}
			return tok, l.session.Session, nil
		}
	}
	tok, session, err := s.obtain(ctx, &cause{values: r.Values(ctx), journal: r.Journal})
	if err == nil && tok.Loaded() {
		s.lookups.Shared.Inc()
	} else {
		s.lookups.Miss.Inc()
	}
	return tok, session, err
}

// touch takes down that the source is used. It seldom writes what all requests read.
func (s *Source) touch(now time.Time) {
	if seconds := now.Unix(); s.used.Load() != seconds {
		s.used.Store(seconds)
		s.touchAddress(seconds)
	}
}

// sessionKey is the key of the session with these credentials.
func (s *Source) sessionKey(c *account.Secrets) sessionKey {
	key := sessionKey{
		origin:      s.place.Origin,
		product:     s.server.Product.Name,
		account:     s.account.Name,
		fingerprint: c.Fingerprint,
		parent:      s.key.parent,
		user:        s.key.user,
		cache:       s.server.cacheID(),
	}
	if s.passthrough != nil {
		key.user, key.passthrough = s.passthrough.User, true
	}
	return key
}

// evict lets go of the sessions.
func (s *Source) evict() {
	if s.key.user == "" {
		s.server.State.accounts.forget(s.server.Product.Name, s.account.Name, s.place.Origin)
	}
	s.rotation.close()
}

// lastUsed is when the source was used last, to the second.
func (s *Source) lastUsed() time.Time { return time.Unix(s.used.Load(), 0) }

// Origin returns the origin of the server that the account logs in at.
func (s *Source) Origin() string { return s.place.Origin }

// replacedError says that a secret is not configured any more.
type replacedError struct{ text string }

func (e *replacedError) Error() string { return e.text }

// Reason implements veeam.Reasoner.
func (*replacedError) Reason() veeam.Reason { return veeam.ReasonSecretReplaced }

var errReplaced = &replacedError{"the session cannot be renewed, and its secret is no longer configured"}

// WithValues returns a context that ends with ctx and has the values of a grant.
func WithValues(ctx, values context.Context) context.Context { return waitContext{ctx, values} }

// waitContext ends with the request and has the values of a grant.
type waitContext struct {
	context.Context
	values context.Context
}

func (w waitContext) Value(key any) any { return w.values.Value(key) }

// Replayed records that a request was accepted with a newer token. If that proves that
// the server had ended the token lost, it is logged.
func (s *Source) Replayed(session *tokencache.Session, lost *tokencache.Token, route uint64, journal journal.Journal) {
	loss, proved := session.Replayed(lost, route)
	if !proved {
		return
	}
	reason := metrics.LostRevoked
	if loss.Interference() {
		reason = metrics.LostInterference
		if loss.Begins() && s.key.user == "" {
			s.server.State.Events.Emit(s.events().Interference(loss.Times, loss.After))
		}
		journal.Warn(svclog.Interference(s.user(), loss.Times, loss.After, s.server.Product.OneSession))
	}
	s.server.Metrics.Lost.WithLabelValues(s.server.Product.Name, s.account.Name, reason).Inc()
}

// events is whom the events of the source are about.
func (s *Source) events() events.Account {
	return events.Account{Product: s.server.Product.Name, Name: s.account.Name, Origin: s.place.Origin}
}

// certified takes down when the certificate ends that the server has presented last. err is
// how the connection has ended.
func (s *Source) certified(err error, now time.Time) {
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	if leaf := s.health.certificate.Load(); leaf != nil && (err == nil || invalid.Reason == x509.Expired) {
		s.server.State.expires(s.server.Product.Name, s.place.Origin, leaf, now)
	}
}

// user is whom the source logs in.
func (s *Source) user() string {
	if l := s.rotation.current.Load(); l != nil {
		return l.credentials.Account.User()
	}
	return s.account.Name
}

// Reached records that the server has answered a request, over a connection with the
// state conn, nil without TLS.
func (s *Source) Reached(conn *tls.ConnectionState, now time.Time) {
	if s.health.presented(conn, nil) || s.health.checksCertificate(now) {
		s.certified(nil, now)
	}
	s.health.reached(now)
}

// Missed records that a request has not reached the server.
func (s *Source) Missed(ctx context.Context, err error, now time.Time) {
	s.health.missed(ctx, err, now)
	s.dialed(err)
	s.certified(err, now)
}

// dialed takes down what a connection has told of the certificate of the server.
func (s *Source) dialed(err error) {
	s.server.State.dialed(s.server.Product.Name, s.place.Origin, err)
}
