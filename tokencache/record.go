// What lies in the store for one session: who is getting a token, the token, and
// what follows a failed grant. All of it is sealed.

package tokencache

import (
	"encoding/json"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Identity identifies a session. Sessions with the same identity share one record.
type Identity struct {
	// Product, Origin and Account are bound to the record: it cannot be opened in place
	// of another one.
	Product, Origin, Account string

	// Purpose distinguishes several sessions of one account. Default: empty.
	Purpose string

	// Credential is a digest of all secrets of the account, so that a changed secret
	// has its own record. It is not stored.
	Credential secret.Value
}

// record is the value of one key of the store. Times are by the wall clock, the
// only one that processes share.
type record struct {
	// Fence counts the grants of the session. Every one that begins takes the next
	// number; what it brings is stored only while the number is still its own.
	Fence uint64 `json:"fence"`

	// Holder is who is getting a token now, empty if nobody is. Lease tells one
	// taking from another, Beat counts signs of life.
	Holder string `json:"holder,omitempty"`
	Lease  string `json:"lease,omitempty"`
	Beat   uint64 `json:"beat,omitempty"`

	// Since is when Holder has taken the lease.
	Since time.Time `json:"since,omitzero"`

	// Process identifies the holder to processes on its machine. Left counts how
	// many leases in a row were left behind before this one.
	Process string `json:"process,omitempty"`
	Left    int    `json:"left,omitempty"`

	Token *sharedToken `json:"token,omitempty"`
	Block *sharedBlock `json:"block,omitempty"`

	// Accepted is when the server has accepted the credential last.
	Accepted time.Time `json:"accepted,omitzero"`

	// Writer is who has written the record last.
	Writer string `json:"writer,omitempty"`
}

// sharedToken is a token as it lies in the store.
type sharedToken struct {
	Fence     uint64        `json:"fence"`
	Access    string        `json:"access"`
	Refresh   string        `json:"refresh,omitempty"`
	Requested time.Time     `json:"requested"`
	Lifetime  time.Duration `json:"lifetime"`

	// RefreshSince is when the server issued Refresh, zero if that was at Requested.
	RefreshSince time.Time `json:"refresh_since,omitzero"`

	Extra json.RawMessage `json:"extra,omitempty"`
}

// sharedBlock is a hold or a pause as it lies in the store. Refusals are those of
// the credential since it was good last, also in a pause for another reason.
type sharedBlock struct {
	Until time.Time `json:"until"`
	Held  bool      `json:"held,omitempty"`
	// Suspended says that no time ends it; Until then only tells it from others.
	Suspended bool   `json:"suspended,omitempty"`
	Refusals  int    `json:"streak,omitempty"`
	Cause     string `json:"cause,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// share prepares a token for the store.
func share(tok *Token, fence uint64) *sharedToken {
	extra, err := json.Marshal(tok.Extra)
	if err != nil {
		extra = nil
	}
	shared := &sharedToken{
		Fence:     fence,
		Access:    tok.Access.Reveal(),
		Refresh:   tok.Refresh.Reveal(),
		Requested: tok.Requested.Round(0),
		Lifetime:  tok.Lifetime,
		Extra:     extra,
	}
	if since := tok.RefreshSince(); !since.Equal(tok.Requested) {
		shared.RefreshSince = since.Round(0)
	}
	return shared
}

// token makes a stored token fit for use. Its age counts by the wall clock; a
// clock that was set back makes it no younger than new.
func (t *sharedToken) token(now time.Time, options Options) *Token {
	age := max(now.Round(0).Sub(t.Requested), 0)
	tok := &Token{
		Access:    secret.New(t.Access),
		Refresh:   secret.New(t.Refresh),
		Requested: now.Add(-age),
		Lifetime:  t.Lifetime,
		fence:     t.Fence,
		loaded:    true,

		refreshSince: t.RefreshSince,
	}
	if options.ReadExtra != nil {
		tok.Extra = options.ReadExtra(t.Extra)
	}
	tok.arm(options)
	return tok
}

// stored is what a stored hold or pause means here. However the clocks differ, it
// does not outlast the longest one there is, which may be that of a next_password.
func (s *Session) stored(b *sharedBlock, now time.Time) *BlockedError {
	s.mu.Lock()
	defer s.mu.Unlock()
	cause := &SharedError{text: b.Cause, reason: b.Reason, refused: b.Held, suspended: b.Suspended}
	if b.Suspended {
		return &BlockedError{Cause: cause, Until: b.Until, Held: true, Suspended: true, Accepted: s.accepted.time(), Budget: s.budget()}
	}
	longest, left := maxDelay, s.budget()
	if b.Held {
		longest = max(s.options.HoldMost, 2*s.options.HoldLeast)
		longest = max(longest+longest/5, left.Window)
	}
	var wait time.Duration
	if s.ahead, wait = s.ahead.Left(b.Until, now, longest); wait <= 0 {
		return nil
	}
	return &BlockedError{
		Cause: cause, Until: now.Add(wait), Held: b.Held, Accepted: s.accepted.time(), Budget: left,
	}
}

// SharedError is the error of a grant of another process, or of this one before a
// restart.
type SharedError struct {
	text      string
	reason    string
	refused   bool
	suspended bool
}

// Error returns the text of the original error.
func (e *SharedError) Error() string { return e.text }

// ReasonText returns the result of Options.ReasonOf for the original error, empty if
// the process that stored it had none.
func (e *SharedError) ReasonText() string { return e.reason }

// CredentialRefused reports whether the server has refused the credential.
func (e *SharedError) CredentialRefused() bool { return e.refused }

// Suspends reports whether only a person can help.
func (e *SharedError) Suspends() bool { return e.suspended }

// bind returns where the record of an identity lies.
func bind(sh *sealed.Store, id Identity) (sealed.RecordKey, error) {
	sealer, err := sh.Sealer()
	if err != nil {
		return sealed.RecordKey{}, err
	}
	name := sealer.Name("session", id.Product, id.Origin, id.Account, id.Purpose, id.Credential.Reveal())
	return sealed.RecordKey{
		Key:    "veeam_auth/sessions/" + name,
		Bound:  sealed.Join("session", id.Product, id.Origin, id.Account),
		Sealer: sealer,
	}, nil
}
