// What follows a failed grant: the hold of a refused credential, the pause a
// server asked for, the short back-off of a passing fault.

package tokencache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/lockout"
)

// Bounds of the pauses after a failure. Those of a refused credential are in
// Options: a wrong password must not lock the account.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 15 * time.Second
	maxDelay   = time.Hour

	// sendingAgain is when a login may be tried again that could not wait for others of
	// the same user.
	sendingAgain = time.Second
)

// BlockedError says that no grant is tried now because the last one failed.
type BlockedError struct {
	// Cause is the error of the last grant.
	Cause error

	// Until is when the next grant may be tried.
	Until time.Time

	// Held tells that the server has refused the credential, or that one more refusal
	// could lock the user.
	Held bool

	// Suspended tells that a person has to act: no time ends the block. Held is set, too.
	Suspended bool

	// Budget is the remaining tries of the user after the last grant. Its Of is 0 if
	// tries are not counted.
	Budget lockout.Budget

	// Accepted is when the server last accepted this credential. It is zero if that is
	// unknown.
	Accepted time.Time

	ping func(context.Context) error // the server has not answered
}

// Error returns the cause and, if the credential is held, until when.
func (b *BlockedError) Error() string {
	if b.Held && !b.Suspended {
		return b.Cause.Error() + "; not sent again before " + b.Until.Format(time.TimeOnly)
	}
	return b.Cause.Error()
}

// Unwrap returns the cause.
func (b *BlockedError) Unwrap() error { return b.Cause }

// RetryAfter returns the remaining time of the block, at least one second. For a
// suspended session it is 30 seconds.
func (b *BlockedError) RetryAfter(now time.Time) time.Duration {
	if b.Suspended {
		return suspendedRetry
	}
	return max(b.Until.Sub(now), time.Second)
}

func (s *Session) blocked(now time.Time) *BlockedError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == nil || s.past.Load() != nil || !now.Before(s.block.Until) && !s.block.Suspended {
		return nil
	}
	return s.block
}

// lookEvery is how often the store is asked whether a hold still stands: it may
// have been lifted elsewhere, or another process may have got a token.
const lookEvery = time.Second

// stopped is blocked, except that it lets a grant begin now and then that looks
// into the store: it goes no further while the hold stands.
func (s *Session) stopped(now time.Time) *BlockedError {
	blocked := s.blocked(now)
	if blocked != nil && blocked.ping != nil {
		return s.pinged(blocked, now)
	}
	if blocked == nil || s.options.Shared == nil || !blocked.Held ||
		time.Duration(now.UnixNano()-s.looked.Load()).Abs() < lookEvery { // Abs: the clock may have been set back
		return blocked
	}
	return nil
}

// Turn is how the standing of a credential may have changed.
type Turn uint8

// The turns.
const (
	TurnHeld      Turn = iota // it is held from now on
	TurnAccepted              // the server has accepted it, here or in another process
	TurnLifted                // an operator has ended the hold here
	TurnElsewhere             // the hold was ended in another process
)

// turned tells Options.Turned. s.mu is not held.
func (s *Session) turned(turn Turn, hold *BlockedError) {
	if s.options.Turned != nil {
		s.options.Turned(turn, hold)
	}
}

// failed records a failed grant and returns what its waiters get.
func (s *Session) failed(cause error) *BlockedError {
	blocked := s.blockAfter(cause)
	if blocked.Held {
		s.turned(TurnHeld, blocked)
	}
	return blocked
}

// blockAfter is the hold or pause after a failed grant.
func (s *Session) blockAfter(cause error) *BlockedError {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pause time.Duration
	held, suspended := refused(cause), suspends(cause)
	spent, overdrawn := errors.AsType[*lockout.BudgetError](cause)
	switch {
	case suspended:
		held, pause = true, suspendedRetry
	case overdrawn && spent.Sending:
		pause = sendingAgain
	case overdrawn:
		held, pause = true, time.Until(spent.Until)
	case held:
		s.refusals++ // whatever happened since the one before
		s.streak = 0
		pause = stretch(backoff(s.options.HoldLeast, s.options.HoldMost, s.refusals))
	case unanswered(cause) != nil:
		s.streak++
		pause = pingFor
	case delay(cause) > 0:
		s.streak++
		pause = min(delay(cause), maxDelay)
	default:
		s.streak++
		pause = stretch(backoff(minBackoff, maxBackoff, s.streak))
	}
	now := time.Now()
	s.block = &BlockedError{Cause: cause, Until: now.Add(pause), Held: held, Suspended: suspended, Accepted: s.accepted.time(), ping: unanswered(cause)}
	s.block.Budget = s.budget()
	if b := s.block.Budget; held && b.Of > 0 && b.Left == 0 && b.Until.After(s.block.Until) {
		s.block.Until = now.Add(time.Until(b.Until)) // it could not be sent before
	}
	if s.block.ping != nil {
		return s.pinged(s.block, now)
	}
	return s.block
}

// Release ends the hold or pause, so that the next request tries a grant.
func (s *Session) Release() { s.release(TurnLifted) }

func (s *Session) release(turn Turn) {
	defer s.turned(turn, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block, s.refusals, s.streak = nil, 0, 0
}

// backoff doubles from least to most.
func backoff(least, most time.Duration, streak int) time.Duration {
	pause := least
	for range streak - 1 {
		if pause *= 2; pause >= most {
			return most
		}
	}
	return pause
}

// stretch adds up to a fifth: never shorter than promised, never in step.
func stretch(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(d)/5) //nolint:gosec // spreads load, guards nothing
}

func refused(err error) bool {
	var e interface{ CredentialRefused() bool }
	return errors.As(err, &e) && e.CredentialRefused()
}

func delay(err error) time.Duration {
	var e interface{ Delay() time.Duration }
	if errors.As(err, &e) {
		return e.Delay()
	}
	return 0
}
