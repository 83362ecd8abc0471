// An upstream access token, and when it may be used.

package tokencache

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Token is an upstream access token and what is needed to renew it. Its fields are set
// by a GrantFunc and do not change afterwards.
type Token struct {
	hot

	// Access is the bearer token of the server. Required.
	Access secret.Value

	// Refresh is the refresh token, empty without one.
	Refresh secret.Value

	// Requested is when the request for the token was sent. Lifetime counts from it on
	// the monotonic clock, so that the time of transmission never makes a token appear
	// younger than it is. Default: when the session got the token.
	Requested time.Time

	// Lifetime is how long the server accepts the token. Values below one second count
	// as one second.
	Lifetime time.Duration

	// Static tells that the token is an API key: a grant costs nothing and returns the
	// same key again. A 401 on it counts even if it was never accepted, see
	// Session.Unauthorized.
	Static bool

	// Login tells that the server has accepted the credential itself and not a refresh
	// token.
	Login bool

	// Revived tells that the token was got by the refresh token of one that the server
	// had ended early. If it ends early, too, refreshing is useless.
	Revived bool

	// Kept tells that the server has just accepted Access again: it is the same token
	// as before.
	Kept bool

	// Extra is data of the GrantFunc, which the cache keeps.
	Extra any

	// Note is what the book of the process has of the token's session, nil if it has
	// nothing.
	Note *Note

	refreshSince time.Time // when the server issued Refresh

	fence  uint64 // of the grant, see record
	loaded bool   // from a store
	stored bool   // in a store, when it was new

	expires time.Time

	rejected  atomic.Bool // by the server
	revoked   atomic.Bool // rejected soon after it was issued, or exhausted
	exhausted atomic.Bool // its refresh token was refused
	proveOnce sync.Once
	proof     chan struct{}

	keyAccepted func() // of an API key: called when the server has accepted it
}

// hot is what each request reads of its token. It stands together: of many tokens, most are
// in no cache of the processor.
type hot struct {
	usableUntil time.Time
	renewAt     time.Time
	header      string      // by which requests present it
	value       [1]string   // of the header
	early       atomic.Bool // to be renewed now, see Session.RenewNow
	proven      atomic.Bool
}

// String returns the masked token.
func (t *Token) String() string { return "token " + secret.Mask }

// GoString returns the masked token.
func (t *Token) GoString() string { return t.String() }

// Present sets the header of Options.Header, in its spelling, to the token. If h has no
// room it allocates. The value is shared and must not be changed.
func (t *Token) Present(h http.Header) { h[t.header] = t.value[:] }

// Expires returns when the token expires.
func (t *Token) Expires() time.Time { return t.expires }

// Renewable reports whether the token's refresh token is worth a try.
func (t *Token) Renewable() bool { return !t.Refresh.IsZero() && !t.revoked.Load() }

// Revivable reports whether the refresh token is worth one try although the token was
// ended early, if a login is expensive: the server may have ended the access token
// only.
func (t *Token) Revivable() bool { return !t.Exhausted() && !t.Revived }

// Exhaust records that the server has refused the refresh token.
func (t *Token) Exhaust() {
	t.exhausted.Store(true)
	t.revoked.Store(true)
}

// Exhausted reports whether there is no refresh token, or the server has refused it. If
// not, it is worth a try without any other way, even if the token is not Renewable.
func (t *Token) Exhausted() bool { return t.Refresh.IsZero() || t.exhausted.Load() }

// Stored reports whether the token is or was in the store of its session.
func (t *Token) Stored() bool { return t.stored || t.loaded }

// Loaded reports whether the token came from the store: another process got it, or this
// one before its restart.
func (t *Token) Loaded() bool { return t.loaded }

// Rejected reports whether the server has answered 401 to the token.
func (t *Token) Rejected() bool { return t.rejected.Load() }

// MarkAccepted records that the server has accepted the token at least once. A 401 on
// an accepted token is about the token, one on any other token is about the route, see
// [Session.Unauthorized].
func (t *Token) MarkAccepted() {
	if t.proven.Load() || t.proven.Swap(true) {
		return
	}
	t.proveOnce.Do(func() { close(t.proof) })
	if t.keyAccepted != nil {
		t.keyAccepted()
	}
}

// arm computes the moments that decide about the token. A token is handed out
// until shortly before its end, and renewed from refreshBefore on, with up to a
// fifth of that window as jitter so that accounts that logged in together do
// not renew together.
func (t *Token) arm(options Options) {
	if t.Requested.IsZero() {
		t.Requested = time.Now()
	}
	if t.refreshSince.IsZero() {
		t.refreshSince = t.Requested
	}
	lifetime := max(t.Lifetime, time.Second)
	margin := min(5*time.Second, lifetime/20)
	window := min(options.RefreshBefore, lifetime/3)
	jitter := time.Duration(rand.Float64() * float64(window) / 5) //nolint:gosec // spreads load, guards nothing

	prefix := "Bearer "
	if t.header = "Authorization"; options.Header != "" {
		t.header, prefix = options.Header, options.Prefix
	}
	value := prefix + t.Access.Reveal()
	t.value[0], t.Access = value, secret.New(value[len(prefix):]) // the text is kept once
	t.expires = t.Requested.Add(lifetime)
	t.usableUntil = t.expires.Add(-margin)
	t.renewAt = t.usableUntil.Add(jitter - window)
	t.proof = make(chan struct{})
	if t.Kept {
		t.MarkAccepted()
	}
}

// RefreshSince returns when the server issued the refresh token, zero without one. A
// renewal that brings no other refresh token does not change it.
func (t *Token) RefreshSince() time.Time {
	if t.Refresh.IsZero() {
		return time.Time{}
	}
	return t.refreshSince
}

func (t *Token) usable(now time.Time) bool { return t != nil && now.Before(t.usableUntil) }

func (t *Token) due(now time.Time) bool { return !now.Before(t.renewAt) || t.early.Load() }
