// Who is to blame for a 401: the token, which is then replaced, or the route,
// whose answer then belongs to the client.

package tokencache

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

const (
	// A token that the server has never accepted is not blamed within this
	// time after it was issued: a route that always answers 401 must not cause
	// a login per request. One that came from a store was not issued to this
	// process, so it may be blamed at once.
	freshFor = time.Minute

	// How long a 401 on a fresh token waits for another request to prove the
	// token. Requests that share a token are often answered within
	// microseconds of each other, in any order.
	proofWait = 250 * time.Millisecond

	// A token that dies this soon was revoked, and its refresh token with it. One
	// that dies later has more likely ended before its announced time: then its
	// refresh token is worth a try.
	revokedWithin = 5 * time.Minute

	// A route that answered 401 to several tokens in turn is believed for this
	// long, and this many routes are remembered.
	believeRoute  = 10 * time.Minute
	believeRoutes = 256

	// Tokens that may be replaced in a row without a single request succeeding
	// for it; afterwards one in each interval.
	replaceBurst    = 5
	replaceInterval = time.Minute
)

// blame is the part of a session that remembers 401s.
type blame struct {
	routes     map[uint64]time.Time // until when the route is believed
	replaced   *rate.Limiter
	lostTokens *lostTokens // nil until a token is lost
}

// Unauthorized judges a 401 on tok and reports whether to retry. It returns true if tok
// should no longer be used: Get returns a newer token then, and the request may be
// repeated. It returns false if the 401 is for the client. route identifies the method
// and path of the request; any hash is suitable.
//
// Only tok is ever discarded, so that a late 401 cannot affect a newer token.
func (s *Session) Unauthorized(ctx context.Context, tok *Token, route uint64) bool {
	if s.current.Load() != tok {
		return true
	}
	if s.believed(route) {
		return false
	}
	if tok.Static {
		return s.blameStatic(tok)
	}
	if !tok.proven.Load() && !tok.loaded && time.Since(tok.Requested) < freshFor {
		timer := time.NewTimer(proofWait)
		defer timer.Stop()
		select {
		case <-tok.proof:
		case <-timer.C:
		case <-ctx.Done():
		}
		if s.current.Load() != tok {
			return true
		}
		if !tok.proven.Load() {
			return false
		}
	}
	if !s.mayReplace(tok) {
		return false
	}
	if s.discard(tok) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.blame.lostTokens == nil {
			s.blame.lostTokens = new(lostTokens)
		}
		s.blame.lostTokens.suspected(tok, route, time.Now())
	}
	return true
}

// blameStatic lets a key that has worked pass once: the next 401 in a row counts.
func (s *Session) blameStatic(tok *Token) bool {
	if !tok.proven.CompareAndSwap(true, false) {
		return s.Reject(tok)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals, s.streak = 0, 0
	return false
}

// Reject discards tok if it is the current token. It returns false only if tok was
// never the session's.
func (s *Session) Reject(tok *Token) bool {
	if tok == nil {
		return false
	}
	s.discard(tok)
	return true
}

// discard reports whether tok was still the current token.
func (s *Session) discard(tok *Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.current.CompareAndSwap(tok, nil) {
		return false
	}
	tok.rejected.Store(true)
	tok.revoked.Store(time.Since(tok.Requested) <= revokedWithin)
	s.spare = tok
	return true
}

// Replayed records that a request was accepted after a 401 on tok. It returns true if
// that proves that the server had ended tok, once for each token.
func (s *Session) Replayed(tok *Token, route uint64) (Loss, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blame.replaced = nil
	return s.blame.lostTokens.proved(tok, route, time.Now())
}

// TrustRoute records that a request got a 401 with each of several tokens.
func (s *Session) TrustRoute(route uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blame.routes == nil || len(s.blame.routes) >= believeRoutes {
		s.blame.routes = make(map[uint64]time.Time)
	}
	s.blame.routes[route] = time.Now().Add(believeRoute)
}

func (s *Session) believed(route uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.blame.routes[route]
	return ok && time.Now().Before(until)
}

func (s *Session) mayReplace(tok *Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() != tok {
		return true // somebody else has just replaced it, at no further cost
	}
	if s.blame.replaced == nil {
		s.blame.replaced = rate.NewLimiter(rate.Every(replaceInterval), replaceBurst)
	}
	return s.blame.replaced.Allow()
}
