// What a session tells about itself to metrics and to operators.

package tokencache

import (
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/lockout"
)

// Status is the state of a session in one word.
type Status string

// States of a session.
const (
	StatusNone       Status = "none"       // no token and no grant running
	StatusValid      Status = "valid"      // a token that may be used
	StatusRefreshing Status = "refreshing" // a grant is running
	StatusHeld       Status = "held"       // the credential was refused and is not tried again yet
	StatusFailing    Status = "failing"    // the last grant failed and there is no token
	StatusSuspended  Status = "suspended"  // a person has to act, nothing is sent before
)

// moment is a time by the wall clock, in a third of the space of one: unix
// nanoseconds, zero for none.
type moment int64 //nolint:recvcheck // a value is asked, a variable advances

// advance sets it unless it is later.
func (m *moment) advance(at time.Time) { *m = max(*m, moment(at.UnixNano())) }

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m))
}

// State is a snapshot of a session.
type State struct {
	Status    Status
	ExpiresIn time.Duration // of the current token, zero without one
	HeldFor   time.Duration // until a refused credential is tried again
	Suspended bool          // a person has to act before; HeldFor is not zero, and has no meaning
	LastError string        // of the last grant if it failed; holds no secret
	Cause     error         // the error with the text LastError
	Waiting   int64

	// LostEarly is how many tokens in a row the server has ended soon after it issued
	// them. It is 0 unless they are enough to conclude that another program logs in as
	// the same user.
	LostEarly int

	// Accepted is when the server last accepted the credential, Succeeded when a login
	// or renewal last got a token. They are zero if unknown.
	Accepted, Succeeded time.Time

	// Renewed is when a renewal last got a token, RefreshSince when the server issued
	// the refresh token that is kept. They are zero if unknown, or if there is none.
	Renewed, RefreshSince time.Time

	// Budget is the remaining tries of the credential. Its Of is 0 if tries are not
	// counted.
	Budget lockout.Budget

	Age    time.Duration // of the current token, zero without one
	Loaded bool          // the current token came from the store
	Shared bool          // the session is kept in a store
	Holder string        // the process that is getting a token, if known
}

// State returns a snapshot.
func (s *Session) State() State {
	now := time.Now()
	state := State{Status: StatusNone, Waiting: s.Waiting()}
	tok, _ := s.Current(now)
	if tok != nil {
		state.Status = StatusValid
		state.ExpiresIn = tok.expires.Sub(now)
		state.Age, state.Loaded = now.Sub(tok.Requested), tok.loaded
		state.RefreshSince = tok.RefreshSince()
	}
	state.Shared = s.options.Shared != nil
	if holder := s.holder.Load(); holder != nil {
		state.Holder = *holder
	}
	s.mu.Lock()
	block := s.block
	state.LostEarly = s.blame.lostTokens.active(now)
	state.Accepted, state.Succeeded, state.Renewed = s.accepted.time(), s.got.time(), s.renewed.time()
	state.Budget = s.budget()
	s.mu.Unlock()
	if block != nil {
		state.LastError, state.Cause = block.Cause.Error(), block.Cause
		if tok == nil {
			state.Status = StatusFailing
		}
		switch {
		case block.Suspended:
			state.Status, state.Suspended, state.HeldFor = StatusSuspended, true, suspendedRetry
		case block.Held && now.Before(block.Until):
			state.Status = StatusHeld
			state.HeldFor = block.Until.Sub(now)
		}
	}
	if s.renewal.Load() || (tok == nil && state.Waiting > 0) {
		state.Status = StatusRefreshing
	}
	return state
}
