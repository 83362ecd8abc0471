// Interference: another program logs in as the same user, and the server ends our
// session for its. Both would log in anew for each request if we let them.

package tokencache

import (
	"context"
	"time"
)

const (
	// A token is lost early if the server ends it within half of its lifetime, and
	// within this time: programs that ask every five minutes count too.
	lostEarly = 6 * time.Minute

	// So many tokens lost early, one after the other and no further apart than this,
	// are interference.
	interferenceTimes  = 3
	interferenceWithin = time.Hour

	// The least time between two logins then is this part of the time that it has
	// lasted, and at most that long: a short storm passes unnoticed, a war that lasts
	// has fewer and fewer logins. Requests wait for the login.
	peacePart = 8
	mostPeace = time.Minute
)

// Loss is a token that the server has ended, as a newer one has proved.
type Loss struct {
	// After is how old the token was when it was found out.
	After time.Duration

	// Times is how many tokens in a row were lost soon after they were issued, this
	// one included. Zero if this one was not.
	Times int
}

// Interference reports whether another program logs in as the same user.
func (l Loss) Interference() bool { return l.Times >= interferenceTimes }

// lostTokens is the part of a session that remembers tokens that were lost.
type lostTokens struct {
	suspect *Token // discarded after a 401; whether with right shows when a newer one is accepted
	route   uint64 // of the request that met the 401
	after   time.Duration

	times       int // in a row
	first, last time.Time
}

// suspected notes that a token was discarded for the 401 of a request. s.mu is
// held.
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

// outlived notes that a token was good for longer.
func (l *lostTokens) outlived(tok *Token, now time.Time) {
	if l != nil && tok != nil && !tok.lostEarly(now.Sub(tok.Requested)) {
		l.times = 0
	}
}

// active is how many tokens were lost early in a row, zero if they are too few.
func (l *lostTokens) active(now time.Time) int {
	if l == nil || l.times < interferenceTimes || now.Sub(l.last) > interferenceWithin {
		return 0
	}
	return l.times
}

// loginSpacing is the least time between two logins.
func (l *lostTokens) loginSpacing(now time.Time) time.Duration {
	if l.active(now) == 0 {
		return 0
	}
	return min(now.Sub(l.first)/peacePart, mostPeace)
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
	return sleep(ctx, wait)
}
