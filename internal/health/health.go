// Package health answers probes: whether the process lives, whether it is ready for
// requests, and whether its start is over. It reads what is known of sessions; a probe
// causes no login and sends nothing to a server.
package health

import (
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const (
	// DefaultMaxAge is how long a success counts for an account that logs in at the start
	// and has no token at the moment.
	DefaultMaxAge = 10 * time.Minute

	// FaultFor is how long a failure counts where only a request can find out whether it
	// has passed: a process that is not ready gets none.
	FaultFor = 30 * time.Second
)

// Account is how one account is doing, for a probe. It has no secret.
type Account struct {
	Account string `json:"account"`
	Product string `json:"product"`

	// Origin is the server that the rest is about; empty if none is known, and for
	// probers that are not operators.
	Origin string `json:"origin,omitempty"`

	Ready    bool `json:"ready"`
	Required bool `json:"required"`

	// Reason is how the account is doing there. That of an account that is ready may be a
	// failure: with a token at hand requests go on.
	Reason veeam.Reason `json:"reason"`

	ExpiresIn   int64     `json:"expires_in_seconds,omitempty"` // of the token
	HeldFor     int64     `json:"held_for_seconds,omitempty"`   // of the credential
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`

	started bool // the account has had its first result, or does not log in at the start
	asked   bool // the probe is about it
}

func (a Account) ready() bool     { return a.Ready }
func (a Account) isStarted() bool { return a.started }

// counts reports whether the account decides about the status.
func (a Account) counts() bool { return a.Required || a.asked }

// judge tells how an account is doing: at the first of its servers where it is ready, or
// else at the first one. maxAge is how long a success counts without a token, see isReady.
func judge(s upstream.Standing, maxAge time.Duration, now time.Time) Account {
	var found Account
	started := !s.AtStart
	for i, rows := range s.Servers {
		r := decisive(rows)
		started = started || hasToken(&r) || !r.Success.IsZero() || !r.Failure.IsZero()
		ready := isReady(&r, s.AtStart, maxAge, now)
		if found.Ready || i > 0 && !ready {
			continue
		}
		if r.State.Suspended { // a person has to act, whenever that may be
			r.State.HeldFor = 0
		}
		found = Account{
			Account: s.Account, Product: s.Product, Origin: r.Origin, Ready: ready, Required: s.Required, Reason: r.Reason,
			ExpiresIn: int64(r.State.ExpiresIn / time.Second), HeldFor: int64(r.State.HeldFor / time.Second),
			LastSuccess: r.Success, LastFailure: r.Failure,
		}
	}
	found.started = started
	return found
}

// decisive is the row of a server that decides: a session with a token serves requests,
// otherwise the one in trouble says why there is none.
func decisive(rows []upstream.Row) upstream.Row {
	rank := func(r *upstream.Row) int {
		switch {
		case hasToken(r):
			return 3
		case r.State.HeldFor > 0:
			return 2
		case r.State.Cause != nil:
			return 1
		}
		return 0
	}
	best := rows[0]
	for i := range rows[1:] {
		if rank(&rows[i+1]) > rank(&best) {
			best = rows[i+1]
		}
	}
	return best
}

func hasToken(r *upstream.Row) bool { return r.State.ExpiresIn > 0 }

// isReady reports whether requests of an account at a server are likely to succeed.
//
//   - With a token: unless a request has failed to reach the server within FaultFor.
//   - Without a token, not while the credential is held or a secret cannot be read.
//   - Without a token, after another failure: an account that logs in at the start is
//     not ready until a login works; any other one is not ready for FaultFor, then a
//     request may try again.
//   - Without a token and without a failure: if the last success is at most maxAge ago.
//     An account that logs in for requests is ready also if it has never logged in.
func isReady(r *upstream.Row, atStart bool, maxAge time.Duration, now time.Time) bool {
	recent := func(at time.Time, d time.Duration) bool { return !at.IsZero() && now.Sub(at) <= d }
	switch {
	case hasToken(r):
		return !recent(r.Unreached, FaultFor)
	case r.State.HeldFor > 0, r.Reason == veeam.ReasonSecretUnreadable:
		return false
	case !r.Reason.Healthy():
		return !atStart && !recent(r.Failure, FaultFor)
	}
	return !atStart || recent(r.Success, maxAge)
}
