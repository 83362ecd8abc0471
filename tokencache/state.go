// What a session tells about itself to metrics and to operators.

package tokencache

import "time"

// Status is the word for what a session does now.
type Status string

// The states of a session.
const (
	StatusNone       Status = "none"       // no token, nothing under way
	StatusValid      Status = "valid"      // a token that may be used
	StatusRefreshing Status = "refreshing" // a grant is under way
	StatusHeld       Status = "held"       // the credential was refused, not tried again yet
	StatusFailing    Status = "failing"    // the last grant failed and there is no token
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
	LastError string        // of the last grant if it failed; holds no secret
	Cause     error         // of which LastError is the text
	Waiting   int64

	// LostEarly is how many tokens in a row the server has ended soon after they were
	// issued, if they are enough to say that another program logs in as the same user.
	LostEarly int

	// Accepted is when the server has accepted the credential last, and Succeeded when
	// a login or a renewal has last brought a token. Zero if that is not known.
	Accepted, Succeeded time.Time

	// Budget is what is left of the tries of the credential. Of is zero where none are
	// counted.
	Budget Budget

	Age    time.Duration // of the current token, zero without one
	Loaded bool          // the current token came from the store
	Shared bool          // the session is kept in a store
	Holder string        // who is getting a token, as far as it is known here
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
	}
	state.Shared = s.options.Shared != nil
	if holder := s.holder.Load(); holder != nil {
		state.Holder = *holder
	}
	s.mu.Lock()
	block := s.block
	state.LostEarly = s.blame.lostTokens.active(now)
	state.Accepted, state.Succeeded = s.accepted.time(), s.got.time()
	state.Budget = s.budget()
	s.mu.Unlock()
	if block != nil {
		state.LastError, state.Cause = block.Cause.Error(), block.Cause
		if tok == nil {
			state.Status = StatusFailing
		}
		if block.Held && now.Before(block.Until) {
			state.Status = StatusHeld
			state.HeldFor = block.Until.Sub(now)
		}
	}
	if s.renewal.Load() || (tok == nil && state.Waiting > 0) {
		state.Status = StatusRefreshing
	}
	return state
}
