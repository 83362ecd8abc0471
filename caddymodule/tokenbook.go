// Who has got tokens from this process: for operators who list and revoke them.

package caddymodule

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// maxTokenHolders bounds the callers that are remembered. Of those that are no
// configured clients the one that has got a token the longest ago makes room.
const maxTokenHolders = 10_000

// tokenHolder is a caller that is configured as a client, or has got a token since
// the process has started.
type tokenHolder struct {
	name string       // the identity of the caller
	used atomic.Int64 // when a client's access token was good last, unix seconds

	// The rest is guarded by the book.
	configured  int // in how many handlers it is a client
	via         policy.Via
	logins      int // since the start, or since its tokens were revoked
	renewals    int
	first, last time.Time // when tokens were issued
	end         time.Time // of the last refresh token
	revoked     time.Time
}

// touch takes down that a token of the holder was good. It seldom writes what all
// requests read.
func (t *tokenHolder) touch(now time.Time) {
	if seconds := now.Unix(); t.used.Load() != seconds {
		t.used.Store(seconds)
	}
}

// tokenBook is who has tokens. It holds no token.
type tokenBook struct {
	mu      sync.Mutex
	holders map[string]*tokenHolder
}

var tokenHolders = &tokenBook{holders: make(map[string]*tokenHolder)}

func (b *tokenBook) holder(name string) *tokenHolder {
	h := b.holders[name]
	if h == nil {
		h = &tokenHolder{name: name}
		b.holders[name] = h
	}
	return h
}

// enter adds a client of a configuration.
func (b *tokenBook) enter(name string) *tokenHolder {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holder(name)
	h.configured++
	return h
}

// leave takes it out. What it holds is good until it ends, or nobody knows it.
func (b *tokenBook) leave(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holders[name]
	if h == nil {
		return
	}
	if h.configured--; h.configured <= 0 && h.last.IsZero() && h.revoked.IsZero() {
		delete(b.holders, name)
	}
}

// issued takes down that a caller has got tokens: by a login, or by a renewal if
// its family was there before.
func (b *tokenBook) issued(caller policy.Caller, renewed bool, pair issuer.Pair) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holder(caller.Identity())
	h.via = caller.Via
	if renewed {
		h.renewals++
	} else {
		h.logins++
	}
	if h.first.IsZero() {
		h.first = pair.Issued
	}
	h.last, h.end = pair.Issued, pair.Issued.Add(issuer.RefreshLifetime)
	b.makeRoom()
}

func (b *tokenBook) makeRoom() {
	if len(b.holders) <= maxTokenHolders {
		return
	}
	var oldest *tokenHolder
	for _, h := range b.holders {
		if h.configured <= 0 && (oldest == nil || h.last.Before(oldest.last)) {
			oldest = h
		}
	}
	if oldest != nil {
		delete(b.holders, oldest.name)
	}
}

// knows reports whether a name is that of a client or of somebody who has got a
// token.
func (b *tokenBook) knows(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holders[name] != nil
}

// revoke takes down that the tokens of a caller are not good any more.
func (b *tokenBook) revoke(name string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.holders[name]; h != nil {
		h.logins, h.renewals, h.first, h.last, h.end, h.revoked = 0, 0, time.Time{}, time.Time{}, time.Time{}, now
	}
}

// TokenState is a caller with tokens as the admin endpoint describes it.
type TokenState struct {
	Client string `json:"client"`

	// Configured reports that it is a client of the configuration. Others are known
	// by other means, such as a certificate.
	Configured bool   `json:"configured,omitempty"`
	Via        string `json:"via,omitempty"` // how it was known when it got its tokens

	// Logins and Renewals count since Caddy has started, or since the tokens were
	// revoked.
	Logins   int `json:"logins"`
	Renewals int `json:"renewals"`

	FirstIssued time.Time `json:"first_issued,omitzero"`
	LastIssued  time.Time `json:"last_issued,omitzero"`
	LastUsed    time.Time `json:"last_used,omitzero"` // of clients only
	Expires     time.Time `json:"expires,omitzero"`   // when the last refresh token ends
	Revoked     time.Time `json:"revoked,omitzero"`
}

func (b *tokenBook) list(now time.Time) []TokenState {
	b.mu.Lock()
	defer b.mu.Unlock()
	states := []TokenState{}
	for _, name := range slices.Sorted(maps.Keys(b.holders)) {
		h := b.holders[name]
		if h.configured <= 0 && h.revoked.IsZero() && h.end.Before(now) {
			continue
		}
		states = append(states, TokenState{
			Client: name, Configured: h.configured > 0, Via: string(h.via),
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
