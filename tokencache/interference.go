// Interference: another program logs in as the same user, and the server ends this
// session for that of the other. Without a limit both would log in for each request.

package tokencache

import (
	"context"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

const (
	// A token is lost early if the server ends it within half of its lifetime and within
	// this time. It is long enough for programs that send a request every five minutes.
	lostEarly = 6 * time.Minute

	// Interference is this many tokens lost early in a row, with no more than this time
	// between two of them.
	interferenceTimes  = 3
	interferenceWithin = time.Hour

	// During interference the time between two logins is at least the time since it began
	// divided by spacingPart, up to maxSpacing. A short one costs little, and a long one
	// gets fewer logins the longer it lasts. Requests wait for the login.
	spacingPart = 8
	maxSpacing  = time.Minute
)

// Loss is a token that the server has ended before it expired. It is certain, because the
// server has accepted a newer token on the same route.
type Loss struct {
	// After is the age of the token when the server refused it.
	After time.Duration

	// Times is how many tokens in a row were lost early, this one included. It is 0 if
	// this one was not.
	Times int
}

// Interference reports whether another program logs in as the same user.
func (l Loss) Interference() bool { return l.Times >= interferenceTimes }

// Begins reports whether that is known since this loss.
func (l Loss) Begins() bool { return l.Times == interferenceTimes }

// lostTokens counts the tokens of a session that were lost.
type lostTokens struct {
	suspect *Token // discarded after a 401; counts as lost when a newer one is accepted
	route   uint64 // of the request that met the 401
	after   time.Duration

	times       int // in a row
	first, last time.Time
}

// suspected notes that a token was discarded after the 401 of a request. The caller holds
// the session's mu.
func (l *lostTokens) suspected(tok *Token, route uint64, now time.Time) {
	l.suspect, l.route, l.after = tok, route, now.Sub(tok.Requested)
	if !tok.lostEarly(l.after) {
		l.times = 0
	}
}

func (t *Token) lostEarly(after time.Duration) bool {
	return after <= min(lostEarly, t.Lifetime/2)
}

// proved notes that a request that was repeated with a newer token was accepted. A
// route that always answers 401 proves nothing, and neither do requests that met
// the 401 of a token that was being replaced.
func (l *lostTokens) proved(tok *Token, route uint64, now time.Time) (loss Loss, ok bool) {
	if l == nil || l.suspect == nil || l.suspect != tok || l.route != route {
		return Loss{}, false
	}
	l.suspect = nil
	if now.Sub(l.last) > interferenceWithin {
		l.times = 0
	}
	if tok.lostEarly(l.after) {
		if l.times == 0 {
			l.first = now
		}
		l.times++
		l.last = now
	}
	return Loss{After: l.after, Times: l.times}, true
}

// outlived notes that a token was not lost early.
func (l *lostTokens) outlived(tok *Token, now time.Time) {
	if l != nil && tok != nil && !tok.lostEarly(now.Sub(tok.Requested)) {
		l.times = 0
	}
}

// active returns how many tokens were lost early in a row, 0 if they are too few.
func (l *lostTokens) active(now time.Time) int {
	if l == nil || l.times < interferenceTimes || now.Sub(l.last) > interferenceWithin {
		return 0
	}
	return l.times
}

// loginSpacing returns the minimum time between two logins.
func (l *lostTokens) loginSpacing(now time.Time) time.Duration {
	if l.active(now) == 0 {
		return 0
	}
	return min(now.Sub(l.first)/spacingPart, maxSpacing)
}

// spaceLogins waits before a login that replaces a token that was lost, so that two
// programs do not end each other's sessions as fast as they can.
func (s *Session) spaceLogins(ctx context.Context, prev *Token) error {
	if prev == nil || !prev.Rejected() {
		return nil
	}
	now := time.Now()
	s.mu.Lock()
	wait := time.Until(prev.Requested.Add(s.blame.lostTokens.loginSpacing(now)))
	s.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	return bounded.Sleep(ctx, wait)
}
