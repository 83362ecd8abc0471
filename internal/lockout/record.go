// The tries of a user in the store, and what this process knows besides.

package lockout

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

const (
	// storeFor bounds what a login waits for the store because of its budget, each time.
	storeFor = time.Second

	maxTries = 200 // that are kept of one user, more than any Limit has
)

var errNoStore = errors.New("there is no store")

// try is one token request with a credential.
type try struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`

	// Checksum tells changed secrets apart for other processes and after a restart.
	Checksum *byte `json:"checksum,omitempty"`

	// Mark is in records that were written before there was a Checksum.
	Mark byte `json:"mark,omitempty"`

	// Sending says that it is under way, in Process. If that says nothing more, its outcome is
	// unknown. Unanswered says that it has ended without an answer.
	Sending    bool   `json:"sending,omitempty"`
	Process    string `json:"process,omitempty"`
	Unanswered bool   `json:"unanswered,omitempty"`

	credential string // here, where it is known
}

// triesRecord is the value of a key of the store.
type triesRecord struct {
	Tries []try `json:"tries,omitempty"`

	// Reset is when the last login was begun that the server has accepted. Tries before it
	// that a process has not stored have no meaning any more.
	Reset time.Time `json:"reset,omitzero"`

	// Accepted has the checksums of the credentials that were accepted last, and not refused
	// since.
	Accepted []int `json:"accepted,omitempty"`
}

// change changes the list of all tries, in the store and as it is known here, and
// the list of this process's: only here if the store fails. It changes nothing and returns
// false if others have changed the tries all the time.
func (t *Tries) change(ctx context.Context, sh *sealed.Store, all, own func([]try) []try) bool {
	var before, next []try
	changeIn := func(found *triesRecord) *triesRecord {
		t.mu.Lock()
		defer t.mu.Unlock()
		before = t.merged(found)
		next = all(slices.Clone(before))
		return &triesRecord{Tries: next, Reset: t.reset, Accepted: slices.Clone(t.accepted)}
	}
	err := t.changeStored(ctx, sh, changeIn)
	switch {
	case errors.Is(err, store.ErrTaken):
		return false
	case err != nil:
		changeIn(nil)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen, t.own = slices.Clone(next), own(t.own)
	if err == nil {
		t.unstored, t.over = nil, nil
		return true
	}
	for _, one := range before {
		if !slices.ContainsFunc(next, one.is) {
			t.over = lastOf(append(t.over, one.ID), maxTries)
		}
	}
	return true
}

// changeStored changes the tries in the store.
func (t *Tries) changeStored(ctx context.Context, sh *sealed.Store, change func(*triesRecord) *triesRecord) error {
	if sh == nil {
		return errNoStore
	}
	at, err := t.recordKey(sh)
	if err != nil {
		return err
	}
	return sealed.UpdateWithin(ctx, storeFor, sh, at, change)
}

// recordKey is where the record of the tries lies.
func (t *Tries) recordKey(sh *sealed.Store) (sealed.RecordKey, error) {
	t.mu.Lock()
	t.ended = sh.Options().Ended
	t.mu.Unlock()
	sealer, err := sh.Sealer()
	if err != nil {
		return sealed.RecordKey{}, err
	}
	name := sealer.Name("tries", t.Product, t.Origin, strings.ToLower(t.User))
	return sealed.RecordKey{Key: "veeam_auth/tries/" + name, Bound: sealed.Join("tries", t.Product, t.Origin), Sealer: sealer}, nil
}

// Look takes over the tries that other processes, or this one before its restart, have
// stored. It changes nothing if there is no store or it fails, and returns within a second.
func (t *Tries) Look(ctx context.Context, sh *sealed.Store) {
	if sh == nil {
		return
	}
	at, err := t.recordKey(sh)
	if err != nil {
		return
	}
	found, err := sealed.Load[triesRecord](ctx, sh, at)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.merged(found)
	t.looked = time.Now().Round(0)
}

// hasLooked reports whether the store was ever read.
func (t *Tries) hasLooked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.looked.IsZero()
}

// merged are all tries: those of the store, or as of the last look, and those of
// this process that it may not have. t.mu is held.
func (t *Tries) merged(found *triesRecord) []try {
	now := time.Now().Round(0)
	list := t.seen
	if found != nil {
		list = t.dated(found.Tries, now)
		t.heedReset(found, now)
		t.accepted = t.stillAccepted(found.Accepted)
		t.looked = now
	}
	byID := make(map[string]try, len(list)+len(t.own))
	for _, known := range [][]try{list, t.own} {
		for i := range known {
			if known[i].At.After(now.Add(time.Millisecond)) { // the clock was put back
				known[i].At = now
			}
			byID[known[i].ID] = known[i]
		}
	}
	maps.DeleteFunc(byID, func(id string, one try) bool {
		return now.Sub(one.At) >= MaxWindow || slices.Contains(t.over, id)
	})
	merged := slices.Collect(maps.Values(byID))
	slices.SortFunc(merged, func(a, b try) int { return a.At.Compare(b.At) })
	merged = lastOf(merged, maxTries)
	t.seen = slices.Clone(merged)
	t.own = slices.DeleteFunc(t.own, func(one try) bool { return !slices.ContainsFunc(merged, one.is) })
	t.accepted = slices.DeleteFunc(t.accepted, func(sum int) bool {
		return slices.ContainsFunc(merged, func(one try) bool { // another process has the refusal
			return !one.Sending && !one.Unanswered && one.Checksum != nil && int(*one.Checksum) == sum
		})
	})
	return merged
}

// is reports whether another one is the same try.
func (y try) is(other try) bool { return y.ID == other.ID }

// endedBefore reports whether a try was over at a moment. The server may refuse later what is
// under way.
func (y try) endedBefore(moment, now time.Time) bool {
	return !y.At.After(moment) && (!y.Sending || now.Sub(y.At) >= sendingFor)
}

// heedReset forgets what this process knows alone of tries that the success of another one has
// ended. Those in the record count: they were made afterwards. t.mu is held.
func (t *Tries) heedReset(found *triesRecord, now time.Time) {
	if found.Reset.Equal(t.reset) {
		return
	}
	t.reset = found.Reset
	success := found.Reset
	if success.After(now.Add(time.Millisecond)) { // by a clock that is ahead
		success = t.looked
	}
	t.own = slices.DeleteFunc(t.own, func(one try) bool { return one.endedBefore(success, now) })
}

// stillAccepted are accepted credentials of the record and of this process. t.mu is held.
func (t *Tries) stillAccepted(found []int) []int {
	still := slices.DeleteFunc(slices.Clone(found), func(sum int) bool {
		_, judged := t.unstored[sum]
		return judged
	})
	for sum, accepted := range t.unstored {
		if accepted {
			still = lastOf(append(still, sum), maxAccepted)
		}
	}
	return still
}

// dated returns tries of the store with times of this clock. Clocks differ: a try keeps the
// time that it got here first, unless it has become later since. One that was not
// there at the last look was not made before it: with such a time, it may have been made just
// now. t.mu is held.
func (t *Tries) dated(list []try, now time.Time) []try {
	list = slices.Clone(list)
	for i, one := range list {
		least, instead := t.looked, now
		if at := slices.IndexFunc(t.seen, one.is); at >= 0 {
			least, instead = t.seen[at].At, t.seen[at].At
		}
		if one.At.Before(least) || one.At.After(now.Add(time.Millisecond)) {
			list[i].At = instead
		}
	}
	return list
}
