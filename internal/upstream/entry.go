// What an operator enters for one login: a verification code, or a new one-time secret.

package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Entry is a secret that an operator enters. It is used for one login, now, and kept
// nowhere.
type Entry struct {
	// Grant is veeam.GrantMFA for a verification code. For a one-time secret it is the
	// grant of the account; empty stands for that.
	Grant veeam.Grant

	// Secret is the code or the one-time secret. Required.
	Secret secret.Value

	// Force spends the last try of a lock-out budget, and sends a code after three that
	// were refused.
	Force bool
}

// takeEntry takes what an operator has entered for the next login, or nil.
func (s *Session) takeEntry() *entry {
	e := s.entry.Swap(nil)
	if e != nil {
		e.taken.Store(true)
	}
	return e
}

// replaces reports whether the entry takes the place of the configured secret.
func (e *entry) replaces() bool { return e != nil && !e.isCode() }

// answers reports whether a login with the entry sends no configured secret.
func (s *Session) answers(e *entry) bool {
	return e.replaces() || e != nil && s.challenge.Load().alive(time.Now())
}

func (e Entry) isCode() bool { return e.Grant == veeam.GrantMFA }

// entry is an Entry on its way to a login.
type entry struct {
	Entry
	taken   atomic.Bool           // by a grant, which reports how it ended
	outcome atomic.Pointer[error] // of that grant
}

// challenge is the server's request for a verification code that nobody has answered yet.
type challenge struct {
	token secret.Value
	until time.Time
}

func (c *challenge) alive(now time.Time) bool { return c != nil && now.Before(c.until) }

// suspendedError is the state of an account that requires a verification code of a person.
type suspendedError struct{ failed *veeam.Error }

func (e *suspendedError) Error() string { return e.failed.Error() }
func (e *suspendedError) Unwrap() error { return e.failed }

// Suspends has no login sent until somebody acts.
func (*suspendedError) Suspends() bool { return true }

// suspended is the error of a session that waits for a code.
func (g *granter) suspended() error {
	product := g.source.server.Product
	hint := "enter a code: caddy veeam-auth sessions code"
	if product.MFAHint != "" {
		hint = product.MFAHint + ", or " + hint
	}
	return &suspendedError{&veeam.Error{Kind: veeam.KindMFARequired, Product: product.Name, Grant: veeam.GrantMFA, Hint: hint}}
}

// challenged suspends the session: the server asks for a code that the account cannot make.
func (g *granter) challenged(d *veeam.MFAChallengeError) error {
	session := g.candidate.session
	session.challenge.Store(&challenge{d.Token, d.Until})
	session.coded.Store(true)
	g.journal.CodeNeeded(g.account)
	return g.suspended()
}

// loginWith is what a login takes from an entry: the account with its secret, and the
// client and context to send it with.
func (g *granter) loginWith(ctx context.Context, client *versionedClient, e *entry) (context.Context, *versionedClient, *veeam.Account) {
	pending := g.candidate.session.challenge.Swap(nil) // a login makes the server forget it
	if e == nil {
		return ctx, client, g.account
	}
	if e.Force {
		ctx = forced(ctx)
	}
	own := *g.account
	switch {
	case !e.isCode():
		own.Password = e.Secret
		own.Confirm = nil // it is not the configured one
		if guard := g.source.guard(g.candidate.credentials, g.journal); guard != nil {
			guard.options.Credential = account.Keyed(e.Secret.Reveal())
			counted := *client.Client
			counted.Guard = guard
			client = &versionedClient{&counted, client.source}
		}
	case pending.alive(time.Now()):
		own.Grant, own.MFAToken, own.Password = veeam.GrantMFA, pending.token, e.Secret
	default:
		own.EnteredCode = e.Secret
	}
	return ctx, client, &own
}

// ended reports to the operator how a login with an entry has ended, and returns the error
// of the grant. A session that waits for a code goes on waiting, unless the server
// refuses another secret of the login.
func (g *granter) ended(e *entry, tok *veeam.Token, err error) error {
	session := g.candidate.session
	if e != nil {
		if e.isCode() {
			session.codes.sent(e.Secret, tok, err, time.Now())
		}
		e.outcome.Store(&err)
	}
	if err == nil || g.source.passthrough != nil {
		return err
	}
	if d, ok := errors.AsType[*veeam.MFAChallengeError](err); ok {
		return g.challenged(d)
	}
	failed, ok := errors.AsType[*veeam.Error](err)
	refusedOther := ok && failed.CredentialRefused() && failed.Grant != veeam.GrantMFA
	if e == nil || !e.isCode() && !session.waits() || refusedOther || errors.Is(err, ErrSecretChanged) {
		return err
	}
	return g.suspended()
}

// oneTime are the grants whose secret somebody else issues for one login.
var oneTime = map[veeam.Grant]bool{
	veeam.GrantRefreshToken: true, veeam.GrantAuthorizationCode: true, veeam.GrantSAML: true, veeam.GrantSSOToken: true,
	veeam.GrantUpdaterToken: true, veeam.GrantVBRToken: true, veeam.GrantJWTBearer: true, veeam.GrantOperator: true,
}

// accepts returns why the account cannot log in with an entry, or nil.
func (a *access) accepts(e Entry) error {
	product, grant := a.source.server.Product, a.source.account.GrantType()
	switch {
	case e.isCode() && !product.TakesCodes():
		text := "the REST API of " + product.Title + " does not support verification codes"
		if product.MFAHint != "" {
			text += ": " + product.MFAHint
		}
		return errors.New(text)
	case e.isCode() && a.candidate.credentials.Account.TOTP != nil:
		return errors.New("the account has totp_secret: its verification codes are made by veeam-auth")
	case e.isCode() && grant == veeam.GrantAPIKey:
		return errors.New("the grant api_key requires no verification code")
	case e.isCode():
		return nil
	case !oneTime[grant] || a.source.account.Parent != "":
		return fmt.Errorf("the grant %s of the account has no one-time secret: correct the configured one", grant)
	case e.Grant != "" && e.Grant != grant:
		return fmt.Errorf("the account has the grant %s, not %s", grant, e.Grant)
	}
	return nil
}

// nothingSent begins what an operator is told if no secret has left.
func nothingSent(err error) error { return fmt.Errorf("nothing was sent: %w", err) }

var (
	errEntering  = errors.New("another secret is being entered for this session")
	errNoRequest = errors.New("no request has required this session yet")
	errValid     = errors.New("the session is valid and requires nothing; end it first with caddy veeam-auth sessions logout")
)

// Enter logs in with what an operator enters: at once, although the session is held or
// suspended. A verification code answers the challenge of the server if that is recent,
// otherwise the login begins with the password. Concurrent entries are refused, and what
// would spend the last try of the budget without Force.
func (s *Session) Enter(ctx context.Context, what Entry) error {
	g := s.granter()
	if g == nil {
		return nothingSent(errNoRequest)
	}
	if err := g.accepts(what); err != nil {
		return nothingSent(err)
	}
	if !s.entering.TryLock() {
		return nothingSent(errEntering)
	}
	defer s.entering.Unlock()
	if tok, _ := s.Current(time.Now()); tok != nil && s.Suspended() == nil {
		return nothingSent(errValid)
	}
	if what.isCode() {
		if err := s.codes.mayEnter(what, time.Now()); err != nil {
			return nothingSent(err)
		}
	}
	if err := s.MayLogin(ctx, what.Force); err != nil {
		return err
	}
	e := &entry{Entry: what}
	s.entry.Store(e)
	_, err := s.Past(waitContext{ctx, g.values}, g.get, e.taken.Load)
	s.entry.CompareAndSwap(e, nil)
	outcome := e.outcome.Load()
	switch {
	case err == nil:
		g.source.accepted(g.candidate)
		return nil
	case !e.taken.Load():
		return nothingSent(err)
	case outcome == nil:
		return fmt.Errorf("the login is still under way: %w", err)
	}
	return s.entryError(what, *outcome)
}

// entryError says why a login with an entry has failed, and what that has cost.
func (s *Session) entryError(what Entry, err error) error {
	left := s.State().Budget
	failed, ok := errors.AsType[*veeam.Error](err)
	_, asked := errors.AsType[*veeam.MFAChallengeError](err)
	switch {
	case isOverdrawn(err):
		return nothingSent(fmt.Errorf("%w; --force logs in anyway", err))
	case asked:
		return fmt.Errorf("the secret was sent; %w: enter one with caddy veeam-auth sessions code", err)
	case !ok || failed.Kind != veeam.KindRefused:
		return err
	}
	text := err.Error()
	if what.isCode() && failed.Grant == veeam.GrantMFA {
		text = "the server refuses the code: " + text
		if until := s.codes.refusedUntil(time.Now()); !until.IsZero() {
			text += "; no other code is accepted before " + until.Format(time.TimeOnly)
		}
	}
	if left.Of > 0 {
		text += "; " + left.String()
	}
	return errors.New(text)
}

const (
	// mostWrongCodes is how many codes in a row may be refused.
	mostWrongCodes = 3

	// WrongCodesHold is for how long no code is accepted afterwards.
	WrongCodesHold = 5 * time.Minute

	// codeSentFor is how long a code that was sent is remembered: servers accept none
	// that is older.
	codeSentFor = 10 * time.Minute
)

// codes are the verification codes that were entered for a session. The zero value is
// ready for use.
type codes struct {
	mu    sync.Mutex
	known map[string]time.Time // digests of what was sent
	wrong int                  // in a row
	until time.Time            // when another one is accepted
}

// mayEnter returns why a code is not sent, or nil.
func (c *codes) mayEnter(e Entry, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.known[account.Keyed(e.Secret.Reveal())]; ok && now.Sub(at) < codeSentFor {
		return errors.New("this code was sent before, and servers accept a code once: enter the next one")
	}
	if now.Before(c.until) && !e.Force {
		return fmt.Errorf("%d codes in a row were refused; no other code is accepted before %s; --force sends it anyway",
			mostWrongCodes, c.until.Format(time.TimeOnly))
	}
	return nil
}

// sent takes down what a login with a code has led to.
func (c *codes) sent(code secret.Value, tok *veeam.Token, err error, now time.Time) {
	failed, ok := errors.AsType[*veeam.Error](err)
	atCode := ok && failed.Grant == veeam.GrantMFA && !failed.Unsent
	if !atCode && (tok == nil || tok.Grant != veeam.GrantMFA) {
		return // the login did not come so far
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxCodes {
		c.known = nil
	}
	if c.known == nil {
		c.known = make(map[string]time.Time)
	}
	c.known[account.Keyed(code.Reveal())] = now
	switch {
	case err == nil:
		c.wrong, c.until = 0, time.Time{}
	case failed.Kind == veeam.KindRefused:
		if c.wrong++; c.wrong >= mostWrongCodes {
			c.wrong, c.until = 0, now.Add(WrongCodesHold)
		}
	}
}

const maxCodes = 100

// refusedUntil is when another code is accepted; zero if one is accepted now.
func (c *codes) refusedUntil(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.until) {
		return c.until
	}
	return time.Time{}
}

// ForEntry chooses, from the sessions of one account, the one that an entry is for: one
// that waits for a code before others, and the account's own before that with which it
// serves others. It returns nil if there is none.
func ForEntry(found []*Session) (*Session, error) {
	found = slices.DeleteFunc(slices.Clone(found), func(s *Session) bool { return s.key.passthrough || s.kept() })
	if slices.ContainsFunc(found, (*Session).waits) {
		found = slices.DeleteFunc(found, func(s *Session) bool { return !s.waits() })
	}
	var chosen *Session
	for _, s := range found {
		switch {
		case chosen == nil, chosen.key.parent && !s.key.parent:
			chosen = s
		case chosen.key.origin != s.key.origin || chosen.key.product != s.key.product:
			return nil, fmt.Errorf("%s has sessions at several servers, and one secret is for one of them: name it with --origin or --product", s.key.account)
		}
	}
	return chosen, nil
}

// waits reports whether the session waits for a code.
func (s *Session) waits() bool { return s.Suspended() != nil }

// kept reports whether the secret of the session is no longer configured.
func (s *Session) kept() bool {
	a := s.access.Load()
	return a != nil && a.candidate.kept.Load()
}
