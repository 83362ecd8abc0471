// Who has got tokens from this process: for operators who list and revoke them.

package issuer

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxHolders bounds the callers that are remembered. Of those that are no
// configured clients the one that has got a token the longest ago makes room.
const maxHolders = 10_000

// Holder is a caller that is a configured client, or that got a token since the process
// started.
type Holder struct {
	name string       // the identity of the caller
	used atomic.Int64 // when a client's access token was good last, unix seconds

	// The rest is guarded by the Holders.
	configured  int // in how many handlers it is a client
	via         string
	logins      int // since the start, or since its tokens were revoked
	renewals    int
	first, last time.Time // when tokens were issued
	end         time.Time // of the last refresh token
	revoked     time.Time
}

// Touch records that a token of the holder was valid. It rarely writes to memory that
// all requests read.
func (h *Holder) Touch(now time.Time) {
	if seconds := now.Unix(); h.used.Load() != seconds {
		h.used.Store(seconds)
	}
}

// Holders records the callers that have tokens. It contains no token.
type Holders struct {
	mu      sync.Mutex
	holders map[string]*Holder
}

// NewHolders returns empty Holders.
func NewHolders() *Holders { return &Holders{holders: make(map[string]*Holder)} }

func (s *Holders) holder(name string) *Holder {
	h := s.holders[name]
	if h == nil {
		h = &Holder{name: name}
		s.holders[name] = h
	}
	return h
}

// Enter adds a client of a configuration and returns its Holder. Each Enter requires a
// Leave.
func (s *Holders) Enter(name string) *Holder {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holder(name)
	h.configured++
	return h
}

// Leave removes a client of a configuration. Its tokens stay valid until they expire or
// no configuration has the client.
func (s *Holders) Leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holders[name]
	if h == nil {
		return
	}
	if h.configured--; h.configured <= 0 && h.last.IsZero() && h.revoked.IsZero() {
		delete(s.holders, name)
	}
}

// Issued records that a caller got tokens: by a login, or by a renewal if its family is
// known. via is the caller's means of authentication.
func (s *Holders) Issued(name, via string, renewed bool, pair Pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holder(name)
	h.via = via
	if renewed {
		h.renewals++
	} else {
		h.logins++
	}
	if h.first.IsZero() {
		h.first = pair.Issued
	}
	h.last, h.end = pair.Issued, pair.Issued.Add(RefreshLifetime)
	s.makeRoom()
}

func (s *Holders) makeRoom() {
	if len(s.holders) <= maxHolders {
		return
	}
	var oldest *Holder
	for _, h := range s.holders {
		if h.configured <= 0 && (oldest == nil || h.last.Before(oldest.last)) {
			oldest = h
		}
	}
	if oldest != nil {
		delete(s.holders, oldest.name)
	}
}

// Knows reports whether name is a configured client or a caller that got a token.
func (s *Holders) Knows(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holders[name] != nil
}

// Configured reports whether name is a configured client.
func (s *Holders) Configured(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holders[name]
	return h != nil && h.configured > 0
}

// Revoke records that a caller's tokens were revoked.
func (s *Holders) Revoke(name string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holders[name]; h != nil {
		h.logins, h.renewals, h.first, h.last, h.end, h.revoked = 0, 0, time.Time{}, time.Time{}, time.Time{}, now
	}
}

// HolderState describes a caller with tokens for the admin endpoint.
type HolderState struct {
	Client string `json:"client"`

	// Configured reports whether it is a configured client. Others are authenticated by
	// other means, such as a certificate.
	Configured bool   `json:"configured,omitempty"`
	Via        string `json:"via,omitempty"` // its means of authentication when it got its tokens

	// Logins and Renewals count since Caddy started, or since the tokens were revoked.
	Logins   int `json:"logins"`
	Renewals int `json:"renewals"`

	FirstIssued time.Time `json:"first_issued,omitzero"`
	LastIssued  time.Time `json:"last_issued,omitzero"`
	LastUsed    time.Time `json:"last_used,omitzero"` // of clients only
	Expires     time.Time `json:"expires,omitzero"`   // expiry of the last refresh token
	Revoked     time.Time `json:"revoked,omitzero"`
}

// List returns the callers that may have tokens, sorted by name.
func (s *Holders) List(now time.Time) []HolderState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := []HolderState{}
	for _, name := range slices.Sorted(maps.Keys(s.holders)) {
		h := s.holders[name]
		if h.configured <= 0 && h.revoked.IsZero() && h.end.Before(now) {
			continue
		}
		states = append(states, HolderState{
			Client: name, Configured: h.configured > 0, Via: h.via,
			Logins: h.logins, Renewals: h.renewals,
			FirstIssued: h.first.UTC().Truncate(time.Second), LastIssued: h.last.UTC().Truncate(time.Second),
			LastUsed: usedAt(h.used.Load()), Expires: h.end.UTC().Truncate(time.Second), Revoked: h.revoked.UTC().Truncate(time.Second),
		})
	}
	return states
}

// usedAt is a time in unix seconds, of which 0 is never.
func usedAt(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
