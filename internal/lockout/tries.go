// The tries of a user: each is counted before its request is sent.

package lockout

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

const (
	// sendingFor is how long a try whose process says nothing more counts as under
	// way. Afterwards its outcome is unknown.
	sendingFor = 45 * time.Second

	// sendingEvery is how often those that wait for the outcome of other tries look into
	// the store.
	sendingEvery = 250 * time.Millisecond

	// outcomeStores is how often that is waited for an outcome while others change the
	// tries, one after the other. A try without outcome would count as under way.
	outcomeStores = 10

	maxAccepted = 4 // credentials of one user
)

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

// Budget returns the remaining tries of a credential as known in memory. It does not
// read the store.
func (t *Tries) Budget(limit Limit, credential string) Budget {
	t.mu.Lock()
	defer t.mu.Unlock()
	counted := t.counting(t.merged(nil), limit.Window, time.Now())
	return budget(counted, limit, t.isNew(counted, credential))
}
