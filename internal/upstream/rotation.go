// Changing a password while it is used: which of an account's sessions a request
// gets its token from.

package upstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	// SettleFor is how long changed secrets have to stay the same before a request
	// that waits for them uses them, and settleLooks how often it looks.
	SettleFor   = 100 * time.Millisecond
	settleLooks = 5

	// RetireAfter is how long a session lives on whose place another one has taken
	// in the middle of traffic: its last requests are on their way.
	RetireAfter = 2 * time.Second
)

// replacedError says that a secret is not configured any more.
type replacedError struct{ text string }

func (e *replacedError) Error() string { return e.text }

// Reason implements veeam.Reasoner.
func (*replacedError) Reason() veeam.Reason { return veeam.ReasonSecretReplaced }

var errReplaced = &replacedError{"the session cannot be renewed, and its secret is no longer configured"}

// debounce is a changed secret that was seen once. It counts when it is seen
// again: a file that is being written has changed once more by then.
type debounce struct {
	fingerprint string
	since       time.Time
}

func (g *debounce) stable(found string, now time.Time) bool {
	if g.fingerprint != found {
		*g = debounce{found, now}
		return false
	}
	return now.Sub(g.since) >= SettleFor
}

// stable returns the login with the secrets that are configured now. They are
// read unless that was done less than maxAge ago. While they are being written
// they are waited for, and those before count in the end.
func (s *Source) stable(ctx context.Context, maxAge time.Duration, o cause) (*candidate, error) {
	for looks := 1; ; looks++ {
		l, settled, err := s.look(ctx, maxAge, o)
		if settled || err != nil || looks == settleLooks {
			return l, err
		}
		select {
		case <-time.After(SettleFor):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look reads without the lock of the source: a file system may hang.
func (s *Source) look(ctx context.Context, maxAge time.Duration, o cause) (l *candidate, settled bool, err error) {
	if l := s.recent(maxAge, o); l != nil {
		return l, true, nil
	}
	found, next := s.secrets(ctx), new(account.Reading)
	if found.Err == nil && s.wantsNext(found.Value) {
		next = s.nextSecrets(ctx, o.journal)
	}
	if s.guest == nil {
		s.account.Health().Took(found.Err, time.Now())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case found.Err != nil && s.configured == nil:
		return nil, false, found.Err
	case found.Err != nil:
		tellLate(found.Err, o.journal)
		return s.configured, true, nil // it was there before: it is being replaced
	case found.Began.Before(s.read):
		return s.configured, s.changing.fingerprint == "", nil // somebody has read later
	}
	s.read = found.Began
	if s.configured != nil && s.configured.credentials.Fingerprint != found.Value.Fingerprint && !s.changing.stable(found.Value.Fingerprint, found.Began) {
		return s.configured, false, nil
	}
	s.configure(found.Value, next)
	if s.current.Load().next {
		if _, settled := s.nextLogin(next); !settled {
			return s.configured, false, nil
		}
	}
	return s.configured, true, nil
}

// recent is what is configured, if that was read less than maxAge ago.
func (s *Source) recent(maxAge time.Duration, o cause) *candidate {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = o
	if time.Since(s.read) < maxAge && s.changing.fingerprint == "" {
		return s.configured
	}
	return nil
}

// configure makes c what is configured. A session that is in use goes on until the
// server has accepted c, if only its secret is another.
func (s *Source) configure(c *account.Secrets, next *account.Reading) {
	s.changing = debounce{}
	before, current := s.configured, s.current.Load()
	if before != nil && before.credentials.Fingerprint == c.Fingerprint {
		return
	}
	s.configured, s.tryAfter = s.login(c, false), time.Time{}
	if before != nil {
		// If it was here before, and refused: once more, after its hold.
		s.configured.session.refused.Store(false)
		s.tryAfter = time.Now().Add(s.configured.session.State().HeldFor)
	}
	switch {
	case current == nil:
		s.current.Store(s.inherited(next))
	case current.session == s.configured.session:
		s.current.Store(s.configured)
		s.next = nil
	case current.credentials.Identity == c.Identity && (usable(current) || current.session.Renewable()):
		current.kept.Store(!current.next)
	default:
		s.current.Store(s.configured)
	}
	current = s.current.Load()
	if current == s.configured {
		s.server.sessions.dropOthers(current.session.key)
		current.session.next.Store(false)
	}
	s.drop(before)
	s.tryConfigured()
}

// login is the login with these credentials.
func (s *Source) login(c *account.Secrets, next bool) *candidate {
	if s.key.user != "" && s.guest == nil {
		own, account := *c, *c.Account // others have joined the reading, for other users
		account.UserUID = s.key.user
		own.Account, c = &account, &own
	}
	s.server.tellDoubts(s.account, c)
	sessions := s.server.sessions
	key, options := s.sessionKey(c), sessions.options
	if next {
		options.HoldLeast = nextHold(options.HoldLeast, key.cache != "")
	}
	options = s.server.cached(options, key, s.account.GrantType(), c.Digest)
	if g := s.guard(c, journal.Journal{}); g != nil {
		options.Budget = g.Budget
	}
	l := &candidate{credentials: c, next: next, session: sessions.hold(key, options)}
	l.session.Adapt(options) // it may be that of the configuration before
	l.session.sources.LoadOrStore(c.Source, c)
	if s.evicted {
		sessions.drop(key) // for the requests under way only
	}
	return l
}

// inherited is the login that a source begins with: of the sessions that were taken
// over from another configuration, one with another secret of the very account
// serves on until the secret that is configured now has proved good.
func (s *Source) inherited(next *account.Reading) *candidate {
	if s.guest != nil || usable(s.configured) {
		return s.configured
	}
	var found *candidate
	for _, session := range s.server.sessions.others(s.configured.session.key) {
		known, _ := session.sources.Load(s.configured.credentials.Source)
		c, ok := known.(*account.Secrets)
		if !ok || c.Identity != s.configured.credentials.Identity {
			continue
		}
		if l := (&candidate{session: session, credentials: c}); usable(l) || found == nil && session.Renewable() {
			found = l
		}
	}
	if found == nil {
		return s.configured
	}
	if next, _ := s.nextLogin(next); next != nil && next.session == found.session {
		next.session.next.Store(true)
		return next
	}
	s.server.sessions.hold(found.session.key, found.session.options)
	found.kept.Store(true)
	return found
}

func usable(l *candidate) bool {
	tok, _ := l.session.Current(time.Now())
	return tok != nil
}

// maxPast is how many refused secrets of the past are remembered.
const maxPast = 4

// drop lets go of a login's session unless it is still needed. The hold of a
// refused secret is remembered, for one that comes and goes.
func (s *Source) drop(l *candidate) {
	if l == nil {
		return
	}
	needed := append(slices.Clone(s.past), s.current.Load(), s.configured, s.next)
	if slices.ContainsFunc(needed, func(n *candidate) bool { return n != nil && n.session == l.session }) {
		return
	}
	if l.session.refused.Load() && !s.evicted {
		if s.past = append(s.past, l); len(s.past) <= maxPast {
			return
		}
		l, s.past = s.past[0], slices.Delete(s.past, 0, 1)
	}
	s.server.sessions.drop(l.session.key)
}

// obtain gets a token where the session in use has none.
func (s *Source) obtain(ctx context.Context, o cause) (*tokencache.Token, *tokencache.Session, error) {
	s.touch(time.Now())
	maxAge := ResolveEvery
	for looks := 1; ; looks++ {
		tok, session, err := s.obtainWith(ctx, maxAge, o)
		if !errors.Is(err, ErrSecretChanged) || looks == settleLooks || ctx.Err() != nil {
			return tok, session, err
		}
		maxAge = 0
	}
}

// obtainWith is obtain with secrets that were read no longer than maxAge ago.
func (s *Source) obtainWith(ctx context.Context, maxAge time.Duration, o cause) (*tokencache.Token, *tokencache.Session, error) {
	configured, err := s.stable(ctx, maxAge, o)
	if err != nil {
		return nil, nil, err
	}
	l, tok, err := s.attempt(ctx, configured, o)
	if isHeld(err) {
		// The secret may have been replaced since it was read.
		if again, errAgain := s.stable(ctx, ResolveHeldEvery, o); errAgain == nil && again != configured {
			configured = again
			l, tok, err = s.attempt(ctx, configured, o)
		}
	}
	if passwordRefused(err) && l == configured {
		l, tok, err = s.attemptNext(ctx, configured, err, o)
	}
	return tok, l.session.Session, err
}

// attempt asks the sessions that may have a token, in the order of their chances.
func (s *Source) attempt(ctx context.Context, configured *candidate, o cause) (*candidate, *tokencache.Token, error) {
	current := s.current.Load()
	other := current != configured
	asked := other && !usable(configured) && (current.next || configured.session.refused.Load())
	if asked {
		if tok, err := s.get(ctx, current, o); err == nil || !isHeld(err) && !errors.Is(err, errReplaced) {
			return current, tok, err
		}
	}
	tok, err := s.get(ctx, configured, o)
	switch {
	case err == nil:
		s.use(configured)
	case other && !asked && ctx.Err() == nil:
		if tok, errKept := s.get(ctx, current, o); errKept == nil {
			return current, tok, nil
		}
	}
	if isHeld(err) && other && !current.next {
		s.use(configured) // nothing else is left
	}
	return configured, tok, err
}

// get asks one session, and takes down whether the server refuses its secret.
func (s *Source) get(ctx context.Context, l *candidate, o cause) (*tokencache.Token, error) {
	tok, err := l.session.Get(waitContext{ctx, o.values}, s.grant(o.values, l, o.journal))
	switch {
	case err == nil:
		l.session.refused.Store(false)
		s.server.watch.start()
	case isHeld(err) && !l.session.refused.Swap(true) && (l.next || l != s.current.Load()):
		s.refused(l, o.journal)
	}
	return tok, err
}

// use has requests use a login from now on.
func (s *Source) use(l *candidate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.useLocked(l)
}

func (s *Source) useLocked(l *candidate) {
	before := s.current.Load()
	if l == before || l != s.configured && l != s.next {
		return // it has changed again meanwhile
	}
	s.current.Store(l)
	before.session.next.Store(false)
	l.session.next.Store(l.next)
	if before == s.next {
		s.next = nil
	}
	s.server.sessions.dropOthers(l.session.key)
	if usable(before) {
		time.AfterFunc(RetireAfter, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.drop(before)
		})
	} else {
		s.drop(before)
	}
	if usable(l) {
		s.accepted(l, before, s.latest.journal)
	}
}

// changed is told that the account's secrets were read and are settled.
func (s *Source) changed(c *account.Secrets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.configured == nil || s.evicted {
		return
	}
	s.read = time.Now()
	s.configure(c, new(account.Reading))
}

// goOn goes on with what waits for its time.
func (s *Source) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.configured != nil {
		s.tryConfigured()
	}
}

// tryConfigured has the secrets that are configured tried, once, while requests
// use another session: in the background, by a login like any other. What is no
// answer to the question is tried again after its pause.
func (s *Source) tryConfigured() {
	l, current, watch := s.configured, s.current.Load(), s.server.watch
	if l == current || s.evicted {
		return
	}
	if usable(l) { // got by somebody else: an operator, another site
		s.useLocked(l)
		return
	}
	if !usable(current) {
		return // the next request sees to it
	}
	watch.await()
	if s.trying || l.session.refused.Load() || time.Now().Before(s.tryAfter) || s.parentWaits() {
		return
	}
	s.trying = true
	o := s.latest
	o.journal = o.journal.Detached()
	go func() {
		_, err := s.get(watch.ctx, l, o)
		if err == nil {
			s.use(l)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.trying = false
		if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok && l == s.configured {
			s.tryAfter = blocked.Until
		}
	}()
}

// parentWaits reports whether the session with which an account serves others has
// to wait for what the account's own finds out about the same secret: a wrong one
// is not sent for both.
func (s *Source) parentWaits() bool {
	if !s.key.parent {
		return false
	}
	key := s.key
	key.parent = false
	own := (*s.server.sessions.sources.Load())[key]
	if own == nil {
		return false
	}
	own.mu.Lock()
	configured, current := own.configured, own.current.Load()
	own.mu.Unlock()
	switch {
	case configured == nil || !usable(current):
		return false
	case configured.credentials.Fingerprint != s.configured.credentials.Fingerprint:
		return true // not told yet
	case configured == current:
		return false
	}
	if configured.session.refused.Load() {
		s.configured.session.refused.Store(true)
	}
	return true
}
