// The lock-out budget: how many tries a user has at a server that locks users
// after so many wrong logins, whoever sends them and whatever is restarted.

package tokencache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

var errNoStore = errors.New("there is no store")

const (
	// MaxBudgetWindow is the longest window of a Limit.
	MaxBudgetWindow = 24 * time.Hour

	// sendingFor is how long a try whose process says nothing more counts as under
	// way. Afterwards its outcome is unknown.
	sendingFor = 45 * time.Second

	// How often those that wait for the outcome of other tries look into the store,
	// and when a try that could not wait is worth another look.
	sendingEvery = 250 * time.Millisecond
	sendingAgain = time.Second

	// triesStoreFor bounds what a login waits for the store because of its budget,
	// each time.
	triesStoreFor = time.Second

	// outcomeStores is how often that is waited for an outcome while others change the
	// tries, one after the other. A try without outcome would count as under way.
	outcomeStores = 10

	maxAccepted = 4   // credentials of one user
	maxTries    = 200 // that are kept of one user, more than any Limit has
)

// Limit is how many tries a user has within any period of the length Window.
type Limit struct {
	Tries  int
	Window time.Duration
}

// Budget is the remaining tries of a user.
type Budget struct {
	// Left of Of tries may be made now. Of is 0 if tries are not counted.
	Left, Of int

	// Window is how long a try counts.
	Window time.Duration

	// Until is when Left increases. It is zero if no try was used.
	Until time.Time
}

// String returns the budget for people, such as "2 of 3 tries left until 14:05", in
// local time.
func (b Budget) String() string {
	text := fmt.Sprintf("%d of %d tries left", b.Left, b.Of)
	if b.Until.IsZero() {
		return text
	}
	return text + " until " + b.Until.Format("15:04")
}

// BudgetError says that a credential is not sent because one more refusal could lock
// the user at the server.
type BudgetError struct {
	Budget

	// Sending tells that other tries are being sent. If the server accepts one of them,
	// this one may be sent, too.
	Sending bool
}

// Error returns the reason and when the next try is available.
func (e *BudgetError) Error() string {
	if e.Sending {
		return "the lock-out budget of the user allows no more concurrent logins"
	}
	return "the lock-out budget of the user is used up: " + e.Budget.String()
}

// Outcome is the result of a try.
type Outcome int

// Outcomes of a try.
const (
	// OutcomeUncounted: the server has not checked the credential, or has accepted it
	// for a first step.
	OutcomeUncounted Outcome = iota

	// OutcomeAccepted: the server has accepted the credential and resets its own count.
	OutcomeAccepted

	// OutcomeRefused: the server has refused it.
	OutcomeRefused

	// OutcomeUnknown: there was no answer, so the server may have refused the
	// credential. It is not counted for a credential that was accepted and not refused
	// since.
	OutcomeUnknown
)

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

// Tries counts the tries of one user at one server. The server locks users and not
// secrets, so the tries of all accounts with that user and of all their secrets are
// counted together. Its methods may be called from any goroutine.
type Tries struct {
	// Product, Origin and User identify the user at the server. Required.
	Product, Origin, User string

	turn bounded.Turn // of those who begin

	mu      sync.Mutex
	own     []try         // of this process
	seen    []try         // all, as of the last look
	reset   time.Time     // as the record has it
	changed chan struct{} // closed when a try ends; nil if nobody has asked for it since the last one

	// Accepted are the credentials that were accepted last, and not refused since: their
	// checksums, as in the record, and those that this process knows.
	accepted []int
	known    []string

	// What the record may not have yet: whether credentials with these checksums were
	// accepted or refused last, and tries that do not count any more.
	unstored map[int]bool
	over     []string

	looked time.Time                 // when the store was last looked at
	ended  func(process string) bool // nil if that is not known of any process
}

// TryOptions are the options of one try.
type TryOptions struct {
	Limit

	// Credential identifies the secret, in this process and in others. It is not
	// stored, only eight bits of its hash.
	Credential string

	// Shared stores the tries for other processes and for the next start. Default: they
	// are kept in memory, as they are while the store fails.
	Shared *sealed.Store

	// Force sends the credential even if no try is left. The try is counted.
	Force bool
}

// Try is a try that was counted before its token request is sent.
type Try struct {
	tries   *Tries
	options TryOptions
	id      string
	at      time.Time // when it was begun
}

// NewTries returns the Tries of a user without any try.
func NewTries(product, origin, user string) *Tries {
	return &Tries{Product: product, Origin: origin, User: user}
}

// Begin counts a try before its token request is sent, so that it is counted even if
// the process dies. It returns a *BudgetError if the request must not be sent, and
// ctx's error if ctx ends first. If only tries without an outcome prevent it, it waits
// for them.
//
// A user has Limit.Tries tries. A secret that was not tried within the window has one
// more, because it is probably the correction of a wrong one.
func (t *Tries) Begin(ctx context.Context, options TryOptions) (*Try, error) {
	for {
		begun, changed, err := t.begin(ctx, options)
		if err == nil || !err.Sending {
			return begun, asError(err)
		}
		select {
		case <-changed:
		case <-time.After(sendingEvery):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func asError(err *BudgetError) error {
	if err == nil {
		return nil
	}
	return err
}

func (t *Tries) begin(ctx context.Context, options TryOptions) (*Try, <-chan struct{}, *BudgetError) {
	changed := t.untilChanged()
	if t.turn.Take(ctx) != nil {
		return nil, changed, &BudgetError{Sending: true}
	}
	defer t.turn.End()
	if !t.hasLooked() { // the store may not let it write
		t.Look(ctx, options.Shared)
	}
	next := try{ID: rand.Text(), Checksum: new(checksum(options.Credential)), Sending: true, credential: options.Credential}
	if options.Shared != nil {
		next.Process = options.Shared.Options().Process
	}
	var refused *BudgetError
	begun := t.change(ctx, options.Shared, func(all []try) []try {
		now := time.Now()
		next.At = now.Round(0)
		if refused = t.judge(all, options, now); refused != nil && !options.Force {
			return all
		}
		refused = nil
		return append(all, next)
	}, func(own []try) []try {
		if refused != nil {
			return own
		}
		return append(own, next)
	})
	if !begun {
		return nil, changed, &BudgetError{Sending: true}
	}
	if refused != nil {
		return nil, changed, refused
	}
	return &Try{tries: t, options: options, id: next.ID, at: next.At}, changed, nil
}

// untilChanged returns a channel that is closed when the next try ends.
func (t *Tries) untilChanged() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// judge decides whether one more try may be made.
func (t *Tries) judge(all []try, options TryOptions, now time.Time) *BudgetError {
	counted := t.counting(all, options.Window, now)
	b := budget(counted, options.Limit, t.isNew(counted, options.Credential))
	if b.Left > 0 {
		return nil
	}
	sending := slices.ContainsFunc(counted, func(other try) bool { return t.underWay(other, now) })
	return &BudgetError{Budget: b, Sending: sending}
}

// budget is what is left of a limit. A secret that was not tried has one try more.
func budget(counted []try, limit Limit, isNew bool) Budget {
	b := Budget{Left: max(limit.Tries-len(counted), 0), Of: limit.Tries, Window: limit.Window}
	if b.Left == 0 && isNew && len(counted) <= limit.Tries {
		b.Left = 1
	}
	switch over := len(counted) - limit.Tries; {
	case len(counted) == 0:
	case over >= 0:
		b.Until = counted[over].At.Add(limit.Window)
	default:
		b.Until = counted[0].At.Add(limit.Window)
	}
	return b
}

// isNew reports whether a credential is not among those that were tried.
func (t *Tries) isNew(counted []try, credential string) bool {
	sum := checksum(credential)
	return !slices.ContainsFunc(counted, func(other try) bool {
		switch {
		case other.credential != "":
			return other.credential == credential
		case other.Checksum != nil:
			return *other.Checksum == sum
		}
		return other.Mark == t.mark(credential)
	})
}

// checksum returns eight bits of a hash, the same at each server: with others at each, the
// records of one that is used at many would be enough to find it. One of 256 corrections
// has the checksum of what it corrects, and thus no try of its own.
func checksum(credential string) byte {
	return sha256.Sum256(sealed.Join("checksum", credential))[0]
}

// mark returns what records had in place of a checksum.
func (t *Tries) mark(credential string) byte {
	sum := sha256.Sum256(sealed.Join("mark", t.Product, t.Origin, t.User, credential))
	return sum[0]
}

// underWay reports whether the outcome of a try is still to be expected. This process knows
// when its own end, however long a login may take. t.mu is held.
func (t *Tries) underWay(one try, now time.Time) bool {
	if !one.Sending || one.credential != "" {
		return one.Sending
	}
	return now.Sub(one.At) < sendingFor && (one.Process == "" || t.ended == nil || !t.ended(one.Process))
}

// counting are the tries that count within the window, oldest first. t.mu is held.
func (t *Tries) counting(all []try, window time.Duration, now time.Time) []try {
	counted := slices.DeleteFunc(slices.Clone(all), func(one try) bool {
		unknown := one.Unanswered || one.Sending && !t.underWay(one, now)
		return now.Sub(one.At) >= window || unknown && t.isGood(one)
	})
	slices.SortFunc(counted, func(a, b try) int { return a.At.Compare(b.At) })
	return counted
}

// End records the outcome of the try. It returns after it was stored, or the store has
// taken too long.
func (y *Try) End(ctx context.Context, outcome Outcome) {
	t := y.tries
	this := try{ID: y.id, Checksum: new(checksum(y.options.Credential)), credential: y.options.Credential}
	now := time.Now().Round(0)
	update := func(list []try) []try {
		i := slices.IndexFunc(list, func(one try) bool { return one.ID == y.id })
		switch {
		case outcome == OutcomeAccepted:
			t.accept(this)
			// The server may have refused others since it has accepted this one, or may yet.
			t.reset = y.at
			return slices.DeleteFunc(list, func(one try) bool {
				same := one.Sending && one.Checksum != nil && *one.Checksum == *this.Checksum
				return one.ID == y.id || same || one.endedBefore(y.at, now)
			})
		case outcome == OutcomeUncounted, outcome == OutcomeUnknown && t.isGood(this):
			if i >= 0 {
				list = slices.Delete(list, i, i+1)
			}
			return list
		case outcome == OutcomeRefused:
			t.refuse(this)
		}
		if i < 0 { // another one was accepted meanwhile
			list = append(list, this)
			i = len(list) - 1
		}
		list[i].Sending, list[i].Process, list[i].Unanswered = false, "", outcome == OutcomeUnknown
		list[i].At = now // when the server has counted it, at the latest
		return list
	}
	ctx, sh := context.WithoutCancel(ctx), y.options.Shared
	for n := 1; !t.change(ctx, sh, update, update); n++ {
		if n == outcomeStores {
			sh = nil // the next try stores it
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// accept notes that the credential of a try was accepted. t.mu is held.
func (t *Tries) accept(one try) {
	t.judged(one, true)
	t.accepted, t.known = lastOf(append(t.accepted, int(*one.Checksum)), maxAccepted), lastOf(append(t.known, one.credential), maxAccepted)
}

// refuse notes that it was refused. t.mu is held.
func (t *Tries) refuse(one try) { t.judged(one, false) }

func (t *Tries) judged(one try, accepted bool) {
	sum := int(*one.Checksum)
	t.accepted = slices.DeleteFunc(t.accepted, func(other int) bool { return other == sum })
	t.known = slices.DeleteFunc(t.known, func(other string) bool { return other == one.credential })
	if t.unstored == nil {
		t.unstored = make(map[int]bool)
	}
	t.unstored[sum] = accepted
}

func lastOf[T any](list []T, most int) []T { return list[max(len(list)-most, 0):] }

// isGood reports whether the credential of a try was accepted, and not refused since. Of
// one that another process has sent only the checksum is known: one of 256 wrong
// credentials has that of a good one. t.mu is held.
func (t *Tries) isGood(one try) bool {
	if one.Checksum == nil || !slices.Contains(t.accepted, int(*one.Checksum)) {
		return false
	}
	return one.credential == "" || slices.Contains(t.known, one.credential) ||
		!slices.ContainsFunc(t.known, func(other string) bool { return checksum(other) == *one.Checksum })
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
	return sealed.UpdateWithin(ctx, triesStoreFor, sh, at, change)
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
		return now.Sub(one.At) >= MaxBudgetWindow || slices.Contains(t.over, id)
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

// Budget returns the remaining tries of a credential as known in memory. It does not
// read the store.
func (t *Tries) Budget(limit Limit, credential string) Budget {
	t.mu.Lock()
	defer t.mu.Unlock()
	counted := t.counting(t.merged(nil), limit.Window, time.Now())
	return budget(counted, limit, t.isNew(counted, credential))
}
