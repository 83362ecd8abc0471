// One key: what it may do, and whether it still counts.

package keys

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Key is a key as it is known here. It is not changed, except for its last use.
type Key struct {
	policy.Key

	// Configured tells that the key is in a configuration, not in a storage.
	Configured bool

	// Created is zero for a configured key, Revoked for one that is not revoked. The end
	// of the key is Scope.Until.
	Created, Revoked time.Time

	hash   Hash
	used   *atomic.Int64 // in minutes since 1970
	record *record       // as it lies in the store, nil for a configured key
}

// Error is why a key does not count. Its text is for operators: callers are told the same
// for all reasons.
type Error struct {
	// RetryAfter is how long to wait after too many unknown keys, zero otherwise.
	RetryAfter time.Duration

	reason veeam.Reason
	text   string
}

// Error returns the reason with the name of the key.
func (e *Error) Error() string { return e.text }

// Reason returns the reason.
func (e *Error) Reason() veeam.Reason { return e.reason }

// Refusal returns the refusal of a request with the key.
func (e *Error) Refusal() *veeam.Refusal {
	return &veeam.Refusal{Reason: e.reason, Detail: e.text, RetryAfter: e.RetryAfter}
}

// Check returns why the key does not count at a time, nil if it does. The error is an
// *Error.
func (k *Key) Check(now time.Time) error {
	switch {
	case !k.Revoked.IsZero():
		return &Error{reason: veeam.ReasonRevokedKey, text: fmt.Sprintf("the key %s of client %s was revoked at %s", k.Name, k.Client, stamp(k.Revoked))}
	case !k.Until.IsZero() && !now.Before(k.Until):
		return &Error{reason: veeam.ReasonExpiredKey, text: fmt.Sprintf("the key %s of client %s has expired at %s", k.Name, k.Client, stamp(k.Until))}
	}
	return nil
}

// due reports whether the key expires soon, and somebody should replace it.
func (k *Key) due(now time.Time) bool {
	if k.record != nil {
		return k.record.due(now)
	}
	left := k.Until.Sub(now)
	return !k.Until.IsZero() && left > 0 && left <= Warning
}

// CheckPeer returns an error if the key does not count for a peer.
func (k *Key) CheckPeer(peer policy.Peer) error {
	if k.From.Contain(peer) {
		return nil
	}
	return &Error{reason: veeam.ReasonKeyElsewhere, text: fmt.Sprintf("the key %s of client %s is limited to %s; it came from %s", k.Name, k.Client, k.From, peer)}
}

// Unknown returns the error of a key that is not known, with the reason for operators.
func Unknown(text string) error { return &Error{reason: veeam.ReasonUnknownKey, text: text} }

// Throttled returns the error after too many unknown keys.
func Throttled(wait time.Duration, text string) error {
	return &Error{wait, veeam.ReasonThrottled, "too many wrong passwords or keys; " + text}
}

// Touch notes a use. It rarely writes to memory that all requests read.
func (k *Key) Touch(now time.Time) {
	if minute := now.Unix() / 60; k.used.Load() < minute {
		k.used.Store(minute)
	}
}

// LastUse returns the minute of the last use, zero if it was not used. In the minute in
// which the key was issued it is the time of that.
func (k *Key) LastUse() time.Time {
	minute := k.used.Load()
	if minute == 0 {
		return time.Time{}
	}
	used := time.Unix(minute*60, 0).UTC()
	if created := k.Created.UTC().Truncate(time.Second); used.Before(created) {
		return created
	}
	return used
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// Scope is what narrows a key, as it is configured and stored.
type Scope struct {
	// The only operations, as in a rule: `monitor`, `report` or `operate`. Default: those
	// that the rules allow to the client.
	Preset string `json:"preset,omitempty"`

	// The only account to act as. The key does not choose it: a request that would act as
	// another one is refused. Default: the client's.
	Account string `json:"account,omitempty"`

	// The only addresses: networks such as `10.0.0.0/8`, addresses, or `unix` for unix
	// sockets. Default: all.
	From []string `json:"from,omitempty"`
}

// Parse returns the scope as it is asked, or why it is invalid.
func (s Scope) Parse() (parsed policy.Scope, err error) {
	if parsed.Classes, err = Classes(s.Preset); err != nil {
		return policy.Scope{}, err
	}
	if parsed.From, err = policy.ParseSources(s.From); err != nil {
		return policy.Scope{}, err
	}
	parsed.Preset, parsed.Account = s.Preset, s.Account
	return parsed, nil
}

// Classes returns the classes of a preset, nil for none.
func Classes(preset string) (classes []string, err error) {
	if preset == "" {
		return nil, nil
	}
	set, ok := operation.Preset(preset)
	if !ok {
		return nil, operation.UnknownPreset(preset)
	}
	for _, class := range set.Classes() {
		classes = append(classes, class.String())
	}
	return classes, nil
}

var goodName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`) })

// CheckName returns an error for a name that no key may have.
func CheckName(name string) error {
	if !goodName().MatchString(name) || Looks(name) {
		return errors.New("the name of a key has up to 64 letters, digits and ._@-, and begins with a letter or digit")
	}
	return nil
}

// Config is a key of a configuration.
type Config struct {
	// The name, for lists and the log. Required.
	Name string `json:"name"`

	// The hash, as printed by `caddy veeam-auth keys hash`. Required.
	Hash string `json:"hash"`

	Scope

	// The end: a date, which is included, or a time, with an optional time zone. Default:
	// none.
	Until string `json:"until,omitempty"`
}

// Key returns the key of a client, or why it is invalid.
func (c *Config) Key(client string) (*Key, error) {
	if err := CheckName(c.Name); err != nil {
		return nil, fmt.Errorf("key: %w", err) // without the name: it may be a key
	}
	hash, err := ParseHash(c.Hash)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", c.Name, err) // without the text: it may be a key
	}
	scope, err := c.Parse()
	if err == nil && c.Until != "" {
		scope.Until, err = policy.ParseUntil(strings.Fields(c.Until))
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", c.Name, err)
	}
	return &Key{
		Key:  policy.Key{ID: hash.ID(), Name: c.Name, Client: client, Scope: scope},
		hash: hash, Configured: true, used: new(atomic.Int64),
	}, nil
}

// State describes a key for operators. There is neither the key nor its hash in it.
type State struct {
	Name   string `json:"name"`
	Client string `json:"client"`
	Scope
	Configured bool      `json:"configured,omitempty"`
	Created    time.Time `json:"created,omitzero"`
	Expires    time.Time `json:"expires,omitzero"`
	LastUsed   time.Time `json:"last_used,omitzero"` // to the minute
	Revoked    time.Time `json:"revoked,omitzero"`

	// Status is valid, expired or revoked.
	Status string `json:"status"`
}

// State returns the description of the key.
func (k *Key) State(now time.Time) State {
	s := State{
		Name: k.Name, Client: k.Client, Configured: k.Configured,
		Scope:   Scope{Preset: k.Preset, Account: k.Account, From: k.From.Words()},
		Created: k.Created.UTC().Truncate(time.Second), Expires: k.Until.UTC().Truncate(time.Second),
		LastUsed: k.LastUse(), Revoked: k.Revoked.UTC().Truncate(time.Second), Status: "valid",
	}
	switch err, _ := errors.AsType[*Error](k.Check(now)); {
	case err == nil:
	case err.reason == veeam.ReasonRevokedKey:
		s.Status = "revoked"
	default:
		s.Status = "expired"
	}
	return s
}

// sortStates sorts by client and name.
func sortStates(states []State) {
	slices.SortFunc(states, func(a, b State) int {
		return strings.Compare(a.Client+"\x00"+a.Name, b.Client+"\x00"+b.Name)
	})
}
