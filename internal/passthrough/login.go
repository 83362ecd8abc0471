// Guests at the server: their logins, their sessions, and what they get where the
// server refuses them.

package passthrough

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

var (
	// ErrCredentialRequired says that a client has no credential where one is needed.
	ErrCredentialRequired = errors.New("no account is configured: the client must log in with its own Veeam credentials")
	errNoGuest            = errors.New("the client must log in again")
	errTrying             = errors.New("a verification code for this login is being tried")
)

// Wrong guesses of one user's password, wherever they come from: few enough that
// no server locks the user. A credential that the server has taken before is not
// among them.
const (
	GuessBurst = 4
	GuessEvery = 3 * time.Minute
)

var userGuessRate = ratelimit.Rate{Burst: GuessBurst, Every: GuessEvery}

// Login is a token request with a credential of the client's own.
type Login struct {
	book *Users
	id   string

	account  *veeam.Account
	audience string

	// demand is what code, the verification code, answers; nil for a password.
	demand *challenged
	token  secret.Value // what stands for the demand
	code   secret.Value

	// failures counts wrong credentials, here are the counts of the sender.
	failures *ratelimit.Limiter
	here     []ratelimit.Count
}

// Read returns the login that a token request is, nil for one without a credential of
// a user's or an answer to a challenge. audience tells sites apart.
func (b *Users) Read(request *veeam.TokenRequest, audience string) *Login {
	login := &Login{book: b, audience: audience}
	switch request.Grant {
	case veeam.GrantPassword:
		if request.Username == "" || request.Password.IsZero() {
			return nil
		}
		login.account = &veeam.Account{
			Name: Account.Name, Grant: veeam.GrantPassword,
			Username: request.Username, Password: request.Password, ReadOnly: request.ReadOnly,
			ReturnDemand: true,
		}
		login.id = guestID(audience, request.Username, request.Password.Reveal(), request.ReadOnly)
	case veeam.GrantMFA:
		login.demand = b.challenged(request.MFAToken, audience)
		if login.demand == nil || request.MFACode.IsZero() {
			return nil
		}
		login.account, login.token, login.code = login.demand.account, request.MFAToken, request.MFACode
	default:
		return nil
	}
	return login
}

// User is the name of who wants to log in.
func (l *Login) User() string { return l.account.Username }

// CountBy has a wrong credential counted by a limiter, too, and returns how long the
// sender has to wait. One whose credential the server has taken before does not.
func (l *Login) CountBy(failures *ratelimit.Limiter, here []ratelimit.Count) (wait time.Duration) {
	l.failures, l.here = failures, here
	if l.book.find(l.id) != nil {
		return 0
	}
	return failures.Wait(here...)
}

// begin counts the credential as a wrong one, for its sender and for its user at a
// server and a site, until done says whether it was. Nothing may be sent while wait is not zero.
func (l *Login) begin(ctx context.Context, s *upstream.Server, origin string) (done func(wrong bool), wait time.Duration) {
	sender, wait := l.failures.Try(l.here...)
	if wait > 0 {
		return nil, wait
	}
	count := tokencache.GuessCount{Product: s.Product.Name, Origin: origin, User: username.Bare(l.account.Username), Rate: userGuessRate}
	user, wait := l.book.users.Try(
		ratelimit.Count{Key: ratelimit.KeyOf("server", count.Product, count.Origin, count.User), Rate: count.Rate},
		ratelimit.Count{Key: ratelimit.KeyOf("site", l.audience, count.User), Rate: count.Rate}, // its servers may have the same users
	)
	if wait > 0 {
		sender(false)
		return nil, wait
	}
	shared := false
	if s.Cache != nil {
		var err error
		wait, err = s.Cache.TryGuess(ctx, count)
		if wait > 0 {
			user(false)
			sender(false)
			return nil, wait
		}
		shared = err == nil // without the storage, this process counts alone
	}
	return func(wrong bool) {
		user(wrong)
		sender(wrong)
		if shared && !wrong {
			_ = s.Cache.ReturnGuess(context.WithoutCancel(ctx), count)
		}
	}, 0
}

// guessError says that too many credentials of one user are being tried, or were
// wrong.
type guessError struct{ wait time.Duration }

func (e *guessError) Error() string { return "too many wrong passwords or codes for this user" }

// Delay is how long to wait.
func (e *guessError) Delay() time.Duration { return e.wait }

// Upstream is where a guest logs in, for one request.
type Upstream struct {
	Server  *upstream.Server
	Address upstream.Address
	Place   func() upstream.Place // of the address
	Request upstream.Request
}

// Challenge is what a guest gets when the server demands a verification code.
type Challenge struct {
	User  string
	Token string       // stands for the server's mfa_token
	Shape *veeam.Shape // of the server's demand
}

// tries is how often a demand is asked for that somebody else was faster to take.
const tries = 3

// At finds out who the guest is, and logs it in if the server has not seen its
// credential. The challenge is what the guest gets instead, nil if it is logged in.
func (l *Login) At(ctx context.Context, at Upstream) (g *User, challenge *Challenge, err error) {
	if l.demand != nil {
		g, err = l.tryCode(ctx, at)
		return g, nil, err
	}
	for try := 1; ; try++ {
		if g = l.book.find(l.id); g == nil {
			g, err = l.tryPassword(ctx, at)
		} else {
			err = l.comeBack(ctx, at, g)
		}
		demanded, ok := errors.AsType[*veeam.DemandError](err)
		switch {
		case ok && demanded.Claim():
			token := l.book.challenge(&challenged{account: l.account, token: demanded.Token, audience: l.audience, until: time.Now().Add(ChallengeFor)})
			return nil, &Challenge{User: l.account.Username, Token: token, Shape: demanded.Shape}, nil
		case ok && try < tries:
			continue // somebody else has taken it: each gets one of its own
		case err != nil:
			return nil, nil, err
		}
		return g, nil, nil
	}
}

// comeBack gets a session for a guest whom the server knows.
func (l *Login) comeBack(ctx context.Context, at Upstream, g *User) error {
	source, err := g.Source(at)
	if err != nil {
		return err
	}
	_, _, err = source.Token(ctx, at.Request)
	if _, ok := errors.AsType[*veeam.DemandError](err); ok {
		l.book.logins.Remove(g.id) // it has a second factor now
	}
	return err
}

// tryPassword logs in with a password that the server has not seen yet. All who
// send the same wait for one login.
func (l *Login) tryPassword(ctx context.Context, at Upstream) (*User, error) {
	g := &User{id: l.id, account: l.account, until: time.Now().Add(loginFor)}
	err := l.try(ctx, at, l.book.attempt(g.id, at.Server.Session), g)
	if _, ok := errors.AsType[*veeam.DemandError](err); ok {
		l.book.attempts.Remove(g.id)
	}
	found := l.book.find(g.id)
	if found == nil && err == nil {
		return nil, errNoGuest
	}
	return found, err
}

// tryCode completes a login with the guest's verification code. The session that
// comes of it is for this guest alone: the next one has to send a code too.
func (l *Login) tryCode(ctx context.Context, at Upstream) (*User, error) {
	d := l.demand
	if !d.mu.TryLock() {
		return nil, errTrying
	}
	defer d.mu.Unlock()
	own := *d.account
	own.Grant, own.MFAToken, own.Password, own.ReturnDemand = veeam.GrantMFA, d.token, l.code, false
	g := &User{id: rand.Text(), account: &own, until: time.Now().Add(loginFor)}
	err := l.try(ctx, at, tokencache.NewSession(at.Server.Session), g)
	if d.tries++; err == nil || d.tries == ChallengeTries {
		l.book.demands.Remove(l.token.Reveal())
	}
	if err != nil {
		return nil, err
	}
	return g.admitted(), nil
}

// try logs a guest in. Only if that succeeds its session is kept, and the guest
// remembered.
func (l *Login) try(ctx context.Context, at Upstream, attempt *tokencache.Session, g *User) error {
	source := at.Server.NewGuest(at.Place(), Account, g.id, g.as(at.Server.Accounts))
	values := at.Request.Values(ctx)
	_, err := attempt.Get(upstream.WithValues(ctx, values), func(ctx context.Context, _ *tokencache.Token) (_ *tokencache.Token, err error) {
		done, wait := l.begin(ctx, at.Server, source.Origin())
		if wait > 0 {
			return nil, &guessError{wait}
		}
		defer func() { done(refusedGuest(err)) }()
		tok, err := source.First(ctx, values, at.Request.Journal)
		if err != nil {
			return nil, err
		}
		l.book.add(g.admitted())
		source.Keep(Idle, g.until)
		return &tokencache.Token{Access: tok.Access, Lifetime: tok.Lifetime}, nil
	})
	return err
}

// Source hands out the tokens of a guest. The error says that it has to log in again.
func (g *User) Source(at Upstream) (*upstream.Source, error) {
	if g == nil || g.elsewhere && at.Server.Cache == nil {
		return nil, errNoGuest
	}
	return at.Server.Guest(at.Address, Account, g.id, g.as(at.Server.Accounts), Idle, g.until, at.Place), nil
}

// totpOf is the second factor of the configured account with this user, nil if
// there is none.
func totpOf(ctx context.Context, accounts []*account.Account, username string) *veeam.TOTP {
	for _, a := range accounts {
		if a.TOTPSecret == "" {
			continue
		}
		if found := a.Read(ctx); found.Err == nil && strings.EqualFold(found.Value.Account.User(), username) {
			return found.Value.Account.TOTP
		}
	}
	return nil
}

// refusedGuest reports whether the server does not take what the guest has sent. A
// demand for a code is no refusal.
func refusedGuest(err error) bool {
	var e interface{ CredentialRefused() bool }
	return errors.As(err, &e) && e.CredentialRefused()
}

// Refusal turns the refusal of a request into one for a guest: where an account
// of ours would be to blame, it is the guest's credential. newLogin says that the
// request has one.
func Refusal(err error, atTokenEndpoint, newLogin bool, r veeam.Refusal) veeam.Refusal {
	var failed *veeam.Error
	guess, tooMany := errors.AsType[*guessError](err)
	again := errors.Is(err, errNoGuest) || refusedGuest(err) ||
		errors.As(err, &failed) && (failed.Kind == veeam.KindMFARequired || failed.Kind == veeam.KindAccount)
	switch {
	case errors.Is(err, ErrCredentialRequired):
		return veeam.Refusal{Reason: veeam.ReasonNoToken}
	case errors.Is(err, errTrying):
		return veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: time.Second}
	case tooMany:
		return veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: max(r.RetryAfter, guess.wait)}
	case !again:
		return r
	case !atTokenEndpoint:
		return veeam.Refusal{Reason: veeam.ReasonExpiredToken}
	case !newLogin:
		return veeam.Refusal{Reason: veeam.ReasonBadRefreshToken}
	}
	return veeam.Refusal{Reason: veeam.ReasonBadCredential}
}
