// Sessions that clients hold by an id of no meaning, and that end when they are not used.

package issuer

import (
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// idling is what a session that idles out has beside its claims.
type idling struct {
	after time.Duration
	used  atomic.Int64 // unix nanoseconds
	note  atomic.Pointer[string]
}

// Keep has an id stand for sub, as an access token would, for as long as it is used once
// in the time idle. That is remembered in this process only,
// by the hash of the id, and over reloads.
func (i *Issuer) Keep(id string, sub Subject, audience string, idle time.Duration) {
	now := time.Now()
	until := sub.Until
	if until.IsZero() {
		until = now.Add(DefaultMaxLifetime)
	}
	kept := &idling{after: idle}
	kept.used.Store(now.UnixNano())
	i.adopted.add(sub.Client, sha256.Sum256([]byte(id)), claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: sub.Client, Audience: jwt.ClaimStrings{audience}, ExpiresAt: jwt.NewNumericDate(until),
		},
		Account: sub.Account, Login: sub.Login, Vouch: sub.Vouch, Until: until.Unix() + 1, Family: sub.Family,
		Use: useAccess, Made: now.UnixMilli(), idle: kept,
	})
}

// Annotate has Note return a text for an id.
func (i *Issuer) Annotate(id, note string) {
	if c, ok := i.adoptedClaims(id); ok && c.idle != nil {
		c.idle.note.Store(&note)
	}
}

// Note is what was noted about an id, empty for one that is not known.
func (i *Issuer) Note(id string) string {
	if c, ok := i.adoptedClaims(id); ok && c.idle != nil {
		if note := c.idle.note.Load(); note != nil {
			return *note
		}
	}
	return ""
}

// Drop ends the session of an id.
func (i *Issuer) Drop(id string) { i.adopted.take(sha256.Sum256([]byte(id))) }

// use prolongs a session, unless it was idle for too long.
func (s *idling) use(now time.Time) bool {
	if s == nil {
		return true
	}
	if now.Sub(time.Unix(0, s.used.Load())) >= s.after {
		return false
	}
	s.used.Store(now.UnixNano())
	return true
}
