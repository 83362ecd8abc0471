// Changing a password while it is used: a state machine over the secrets of one
// source. Source feeds it what was read and what the server has answered.

package upstream

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// candidate is a session with the credentials that it logs in with.
type candidate struct {
	session     *Session
	credentials *account.Secrets
	next        bool // with next_password

	// kept is a session whose secret is no longer configured. It is renewed as long
	// as possible; nothing that requires the secret is sent.
	kept atomic.Bool
}

// usable reports whether there is a token at hand.
func (l *candidate) usable() bool {
	tok, _ := l.session.Current(time.Now())
	return tok != nil
}

// alive reports whether there is a token, or a way to one without the secret.
func (l *candidate) alive() bool { return l.usable() || l.session.Renewable() }

// onHold reports whether its secret was refused and is not sent now.
func (l *candidate) onHold() bool { return l.session.State().HeldFor > 0 }

// rotation decides which secret of a source requests use. A session that is in use
// goes on until the server has accepted the secret that follows it.
type rotation struct {
	current atomic.Pointer[candidate] // that requests use

	sessions   candidates
	mu         sync.Mutex
	used       inUse // the latest secret that the server has accepted and requests use
	phase      phase
	configured *candidate   // with the secrets as they are configured
	next       *candidate   // with next_password, once that was needed
	past       []*candidate // with secrets that were configured once, and refused
	trial      *candidate   // a login with it is under way in the background
	needed     []*candidate // for requests that wait for them, or have their tokens
	tryAfter   time.Time    // the configured one is not tried in the background before
	closed     bool
}

// candidates is what a rotation requires of its source.
type candidates interface {
	// open returns the session with these credentials, and holds it.
	open(c *account.Secrets, next bool) *candidate

	// drop lets go of its session.
	drop(l *candidate)

	// inherited are the sessions from before a reload that are not in use yet, of the
	// account as it is written.
	inherited(source string) []*candidate

	// dropInherited lets go of them.
	dropInherited(l *candidate)

	// try logs in with l in the background, and then calls ended.
	try(l *candidate)

	// mayTry reports whether l may be tried in the background now.
	mayTry(l *candidate) bool

	// watch has goOn called at the next look at the files.
	watch()

	// switched is called when requests use another secret, which the server has accepted.
	switched(l, before *candidate)

	// inUse is called when the secret that requests use is another one than before, and
	// the server has accepted it.
	inUse(l *candidate)
}

// on makes the transition of an event, and reports whether there is one. r.mu is held.
func (r *rotation) on(e event) bool {
	t, ok := transitions[r.phase][e]
	if !ok {
		return false
	}
	r.phase = t.to
	before := r.current.Load()
	switch t.do {
	case actionUse:
		r.use(r.configured)
	case actionUseNext:
		r.use(r.next)
	case actionKeep:
		before.kept.Store(true)
	}
	if now := r.current.Load(); (e == eventAccepted || e == eventNextAccepted) && now.session != before.session {
		r.sessions.switched(now, before)
	}
	return true
}

// settle tells which secret is in use, if the server has accepted it. r.mu is held.
func (r *rotation) settle() {
	l := r.current.Load()
	if l == nil || !l.usable() {
		return
	}
	before := r.used
	r.used = inUse{l.credentials.Fingerprint, l.next}
	if before != r.used && before != (inUse{}) {
		r.sessions.inUse(l)
	}
}

// use has requests use a candidate from now on.
func (r *rotation) use(l *candidate) {
	before := r.current.Swap(l)
	if before != nil {
		before.session.next.Store(false)
	}
	l.session.next.Store(l.next)
	if before == r.next && l != r.next {
		r.next = nil
	}
	switch {
	case before == nil:
	case before.usable(): // its last requests are under way
		time.AfterFunc(RetireAfter, r.need(before))
	default:
		r.release(before)
	}
	r.sessions.dropInherited(l)
}

// open returns the session with these credentials. One that has been replaced keeps it
// for the requests under way only.
func (r *rotation) open(c *account.Secrets, next bool) *candidate {
	l := r.sessions.open(c, next)
	if r.closed {
		r.sessions.drop(l)
	}
	return l
}

// configure makes c the configured secret. next is next_password, nil if it is not
// known.
func (r *rotation) configure(c, next *account.Secrets) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.settle()
	before := r.configured
	if before != nil && before.credentials.Fingerprint == c.Fingerprint {
		before.kept.Store(false)
		return
	}
	r.configured, r.tryAfter = r.open(c, false), time.Time{}
	switch {
	case before == nil:
		r.remember(c.Source)
	case !before.kept.Load():
		// If it was here before, and refused: once more, after its hold.
		r.configured.session.refused.Store(false)
		r.tryAfter = time.Now().Add(r.configured.session.State().HeldFor)
	}
	r.on(r.readEvent(c, next))
	r.release(before)
	r.goOnLocked()
}

// readEvent is what it means that the configured secret has become c.
func (r *rotation) readEvent(c, next *account.Secrets) event {
	switch current := r.current.Load(); {
	case current == nil:
		return r.adopt(next)
	case current.session == r.configured.session:
		return eventReadCurrent
	case current.credentials.Identity == c.Identity && current.alive():
		return eventReadOther
	}
	return eventReadAlone
}

// adopt finds the session that a source begins with: of those that were taken over
// from another configuration, one with another secret of the very account serves on
// until the server has accepted the secret that is configured now.
func (r *rotation) adopt(next *account.Secrets) event {
	if r.configured.usable() {
		return eventReadAlone
	}
	found := r.survivor(r.configured.credentials.Source, func(c *account.Secrets) bool { return c.Identity == r.configured.credentials.Identity })
	if found == nil {
		return eventReadAlone
	}
	if next != nil && next.Fingerprint == found.credentials.Fingerprint {
		r.next = r.open(next, true)
		r.next.session.next.Store(true)
		r.current.Store(r.next)
		return eventAdoptedNext
	}
	r.current.Store(r.open(found.credentials, false))
	return eventAdopted
}

// survivor is the best of the sessions from before a reload.
func (r *rotation) survivor(source string, fits func(*account.Secrets) bool) (found *candidate) {
	for _, l := range r.sessions.inherited(source) {
		if fits(l.credentials) && (l.usable() || found == nil && l.session.Renewable()) {
			found = l
		}
	}
	return found
}

// goOnWithout begins with a session from before a reload while the secrets cannot be
// read; nil if there is none. Its secret may have been replaced meanwhile, so it is
// renewed only.
func (r *rotation) goOnWithout(source string) *candidate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.configured != nil || r.closed {
		return r.configured
	}
	found := r.survivor(source, func(*account.Secrets) bool { return true })
	if found == nil {
		return nil
	}
	r.configured = r.open(found.credentials, false)
	r.configured.kept.Store(true)
	r.remember(source)
	r.on(eventReadAlone)
	return r.configured
}

// remember keeps the holds of secrets that were refused before a reload.
func (r *rotation) remember(source string) {
	for _, l := range r.sessions.inherited(source) {
		if l.onHold() && !l.alive() {
			l = r.open(l.credentials, false)
			l.kept.Store(true)
			r.keepHold(l)
		}
	}
}

// setNext makes c next_password, nil if there is none.
func (r *rotation) setNext(c *account.Secrets) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.next
	if before != nil && c != nil && before.credentials.Fingerprint == c.Fingerprint {
		return
	}
	if r.next = nil; c != nil {
		r.next = r.open(c, true)
	}
	if before != nil {
		before.kept.Store(true)
		r.release(before)
	}
}

// maxPast is how many refused secrets of the past are remembered.
const maxPast = 4

// release lets go of a candidate's session unless it is still needed. The hold of a
// refused secret is remembered, for one that comes and goes.
func (r *rotation) release(l *candidate) {
	if l == nil || slices.ContainsFunc(r.all(), func(n *candidate) bool { return n.session == l.session }) {
		return
	}
	if l.onHold() && !r.closed {
		if r.keepHold(l); len(r.past) <= maxPast {
			return
		}
		l, r.past = r.past[0], slices.Delete(r.past, 0, 1)
	}
	r.sessions.drop(l)
}

// keepHold remembers a refused secret of the past until its hold has ended. After that nothing
// is left to say of it: the account would count as refused with a secret that nobody uses.
func (r *rotation) keepHold(l *candidate) {
	r.past = append(r.past, l)
	time.AfterFunc(l.session.State().HeldFor, func() { r.forgetHold(l) })
}

// forgetHold lets go of a secret of the past, unless its hold goes on.
func (r *rotation) forgetHold(l *candidate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.past, l); i >= 0 && !r.closed {
		r.past = slices.Delete(r.past, i, i+1)
		r.release(l)
	}
}

// all are the candidates that are needed.
func (r *rotation) all() []*candidate {
	needed := append(slices.Concat(r.past, r.needed), r.current.Load(), r.configured, r.next)
	return slices.DeleteFunc(needed, func(l *candidate) bool { return l == nil })
}

// ask is told that a candidate is asked for a token. Its session is needed until the end of
// that, and the hold that may come of it afterwards.
func (r *rotation) ask(l *candidate) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.need(l)
}

func (r *rotation) need(l *candidate) (end func()) {
	r.needed = append(r.needed, l)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		i := slices.Index(r.needed, l)
		r.needed = slices.Delete(r.needed, i, i+1)
		r.release(l)
	}
}

// judged is told that the server has accepted a candidate's secret, or has refused
// it.
func (r *rotation) judged(l *candidate, accepted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.settle()
	switch {
	case l == r.configured && accepted:
		r.on(eventAccepted)
	case l == r.configured:
		r.on(eventRefused)
	case l == r.next && accepted:
		r.on(eventNextAccepted)
	}
}

// lost is told that the session in use has ended for good, and that the configured
// secret is on hold.
func (r *rotation) lost(l *candidate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l == r.current.Load() {
		r.on(eventLost)
	}
}

// goOn goes on with what waits for its time.
func (r *rotation) goOn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.settle()
	r.goOnLocked()
}

// goOnLocked has the configured secret tried, once, while requests use another
// session: by a login like any other. What is no answer to the question is tried
// again after its pause.
func (r *rotation) goOnLocked() {
	if r.configured == nil || r.closed {
		return
	}
	if r.configured.session.refused.Load() {
		r.on(eventRefused) // another source has tried it
	}
	l, current := r.configured, r.current.Load()
	if l == current {
		return
	}
	if l.usable() { // got by somebody else: an operator, another site
		r.on(eventAccepted)
		return
	}
	if !current.usable() {
		return // the next request sees to it
	}
	r.sessions.watch()
	if r.trial != nil || time.Now().Before(r.tryAfter) || !r.sessions.mayTry(l) || !r.on(eventBegun) {
		return
	}
	r.trial = l
	r.sessions.try(l)
}

// ended is told that a login in the background has ended, and until when there is a
// pause.
func (r *rotation) ended(l *candidate, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trial = nil
	if l == r.configured {
		r.tryAfter = until
		r.on(eventEnded)
	}
}

// plan is which candidates a request tries, as things are.
func (r *rotation) plan() (configured, current *candidate, o order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.configured.session.refused.Load() {
		r.on(eventRefused) // another source has tried it
	}
	configured, current, o = r.configured, r.current.Load(), orders[r.phase]
	if o == orderInUse && configured.usable() {
		o = orderInUseLast
	}
	return configured, current, o
}

// inForce is the candidate with the secrets that are configured; nil if none were read.
func (r *rotation) inForce() *candidate {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.configured
}

// nextInForce is the candidate with next_password; nil if there is none, or none was
// needed.
func (r *rotation) nextInForce() *candidate {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// isClosed reports whether the source was evicted.
func (r *rotation) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// close lets go of all sessions.
func (r *rotation) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, l := range r.all() {
		r.sessions.drop(l)
	}
}
