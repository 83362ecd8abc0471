// Logins of passthrough users, and the answers to those that the server refuses.

package passthrough

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

var (
	// ErrCredentialRequired is the error of a request without a login where no account is
	// configured that could serve it.
	ErrCredentialRequired = errors.New("no account is configured: the client must log in with its own Veeam credentials")
	errLoginRequired      = errors.New("the client must log in again")
	errTrying             = errors.New("a verification code for this login is being tried")
)

// Limit on wrong passwords and codes of one user, from all clients together. It is low
// enough that no server locks the user. A credential that the server has accepted before
// is not counted.
const (
	// GuessBurst is how many wrong credentials are sent without a pause between them.
	GuessBurst = 4

	// GuessEvery is the time after which one more may be sent.
	GuessEvery = 3 * time.Minute
)

var userGuessRate = ratelimit.Rate{Burst: GuessBurst, Every: GuessEvery}

// Login is a token request with the client's own Veeam credential.
type Login struct {
	users *Users
	id    string

	account  *veeam.Account
	audience string

	// challenge is what the verification code answers; nil for a password.
	challenge *pendingChallenge
	token     secret.Value // the mfa_token that the client got in place of the server's
	code      secret.Value

	// failures counts wrong credentials under the keys of sender.
	failures *ratelimit.Limiter
	sender   []ratelimit.Count
}

// Read returns the login of a token request. It is nil if the request has neither user
// and password nor a code for a pending challenge. A login is valid for one audience,
// which names the servers of the site.
func (u *Users) Read(request *veeam.TokenRequest, audience string) *Login {
	login := &Login{users: u, audience: audience}
	switch request.Grant {
	case veeam.GrantPassword:
		if request.Username == "" || request.Password.IsZero() {
			return nil
		}
		login.account = &veeam.Account{
			Name: Account.Name, Grant: veeam.GrantPassword,
			Username: request.Username, Password: request.Password, ReadOnly: request.ReadOnly,
			ReturnMFAChallenge: true,
		}
		login.id = userID(audience, request.Username, request.Password.Reveal(), request.ReadOnly)
	case veeam.GrantMFA:
		login.challenge = u.pending(request.MFAToken, audience)
		if login.challenge == nil || request.MFACode.IsZero() {
			return nil
		}
		login.account, login.token, login.code = login.challenge.account, request.MFAToken, request.MFACode
	default:
		return nil
	}
	return login
}

// User returns the name of the user who logs in.
func (l *Login) User() string { return l.account.Username }

// CountBy makes the login count a wrong credential in failures, too, under the keys of
// the sender. It returns how long the sender has to wait before the login may be tried,
// which is 0 for a credential that the server has accepted before.
func (l *Login) CountBy(failures *ratelimit.Limiter, sender []ratelimit.Count) (wait time.Duration) {
	l.failures, l.sender = failures, sender
	if l.users.find(l.id) != nil || l.users.accepted.Contains(l.id) {
		return 0
	}
	return failures.Wait(sender...)
}

// begin is count, except that what others have sent does not stop a credential that the
// server has accepted before. It passes once: a password that was changed since then is no
// more than another guess.
func (l *Login) begin(ctx context.Context, s *upstream.Server, origin string) (done func(wrong bool), wait time.Duration) {
	done, wait = l.count(ctx, s, origin)
	if wait > 0 && l.users.accepted.Remove(l.id) {
		return func(bool) {}, 0 // Users.add remembers it again
	}
	return done, wait
}

// count counts the credential as wrong, for its sender and for its user at a server and
// a site, until done tells whether it was. If wait is not 0 the credential must not be
// sent, and done is nil.
func (l *Login) count(ctx context.Context, s *upstream.Server, origin string) (done func(wrong bool), wait time.Duration) {
	sender, wait := l.failures.Try(l.sender...)
	if wait > 0 {
		return nil, wait
	}
	count := lockout.GuessCount{Product: s.Product.Name, Origin: origin, User: username.Bare(l.account.Username), Rate: userGuessRate}
	user, wait := l.users.guesses.Try(
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
		wait, err = s.Cache.Guesses.Try(ctx, count)
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
			_ = s.Cache.Guesses.Return(context.WithoutCancel(ctx), count)
		}
	}, 0
}

// guessError says that too many credentials of one user were wrong or are being tried.
type guessError struct{ wait time.Duration }

func (e *guessError) Error() string { return "too many wrong passwords or codes for this user" }

// Delay returns how long to wait.
func (e *guessError) Delay() time.Duration { return e.wait }

// Upstream is the server that a user logs in at, for one request.
type Upstream struct {
	Server  *upstream.Server
	Address upstream.Address
	Place   func() upstream.Place // returns the place of Address
	Request upstream.Request
}

// Challenge is the answer to a login that needs a verification code.
type Challenge struct {
	User  string
	Token string       // the mfa_token that the client gets in place of the server's
	Shape *veeam.Shape // shape of the server's own answer
}

// Where returns where a login goes that belongs to a request for at: a code to the server
// that has asked for it, whichever one was chosen for the request. l may be nil.
func (l *Login) Where(at Upstream) Upstream {
	if l == nil || l.challenge == nil {
		return at
	}
	asked := l.challenge
	at.Address, at.Place = asked.place.Address, func() upstream.Place { return asked.place }
	at.Request.Values = func(ctx context.Context) context.Context { return tracing.Carry(asked.values, ctx) }
	return at
}

// tries is how often a login is tried whose challenge another request has taken.
const tries = 3

// At returns the user of a login at a place that Where has returned. If the server has not
// accepted its credential before, it logs the user in. If the server requires a verification
// code, At returns the challenge for the client instead.
func (l *Login) At(ctx context.Context, at Upstream) (user *User, challenge *Challenge, err error) {
	if l.challenge != nil {
		user, err = l.tryCode(ctx, at)
		return user, nil, err
	}
	for try := 1; ; try++ {
		if user = l.users.find(l.id); user == nil {
			user, err = l.tryPassword(ctx, at)
		} else {
			err = l.resume(ctx, at, user)
		}
		required, ok := errors.AsType[*veeam.MFAChallengeError](err)
		switch {
		case ok && required.Claim():
			token := l.users.addChallenge(&pendingChallenge{
				account: l.account, token: required.Token, place: at.Place(), values: tracing.Without(at.Request.Values(ctx)),
				audience: l.audience, until: time.Now().Add(ChallengeFor),
			})
			return nil, &Challenge{User: l.account.Username, Token: token, Shape: required.Shape}, nil
		case ok && try < tries:
			continue // another request has taken it: each client gets its own
		case err != nil:
			return nil, nil, err
		}
		return user, nil, nil
	}
}

// resume gets a session for a user whose credential the server has accepted before.
func (l *Login) resume(ctx context.Context, at Upstream, user *User) error {
	source, err := user.Source(at)
	if err != nil {
		return err
	}
	_, _, err = source.Token(ctx, at.Request)
	if _, ok := errors.AsType[*veeam.MFAChallengeError](err); ok {
		l.users.logins.Remove(user.id) // the user has a second factor now
	}
	return err
}

// tryPassword logs in with a password that the server has not seen yet. Requests with
// the same password wait for one login.
func (l *Login) tryPassword(ctx context.Context, at Upstream) (*User, error) {
	user := &User{id: l.id, account: l.account, until: time.Now().Add(loginFor)}
	key := attempt{user.id, at.Place().Origin}
	pending := l.users.attempt(key, at.Server.Session)
	if found := l.users.find(user.id); found != nil {
		return found, l.resume(ctx, at, found) // a login of this moment: its attempt is over
	}
	err := l.try(ctx, at, pending, user)
	if _, ok := errors.AsType[*veeam.MFAChallengeError](err); ok {
		l.users.attempts.Remove(key)
	}
	found := l.users.find(user.id)
	if found == nil && err == nil {
		return nil, errLoginRequired
	}
	return found, err
}

// tryCode completes a login with the client's verification code. The session belongs to
// this client alone: another client with the same password has to send a code, too.
func (l *Login) tryCode(ctx context.Context, at Upstream) (*User, error) {
	d := l.challenge
	if !d.mu.TryLock() {
		return nil, errTrying
	}
	defer d.mu.Unlock()
	own := *d.account
	own.Grant, own.MFAToken, own.Password, own.ReturnMFAChallenge = veeam.GrantMFA, d.token, l.code, false
	user := &User{id: rand.Text(), account: &own, until: time.Now().Add(loginFor)}
	err := l.try(ctx, at, tokencache.NewSession(at.Server.Session), user)
	if d.tries++; err == nil || d.tries == ChallengeTries {
		l.users.challenges.Remove(l.token.Reveal())
	}
	if err != nil {
		return nil, err
	}
	return user.admitted(), nil
}

// try logs a user in. The session is kept and the user remembered only if that
// succeeds.
func (l *Login) try(ctx context.Context, at Upstream, pending *tokencache.Session, user *User) error {
	source := at.Server.NewPassthroughSource(at.Place(), Account, user.id, user.forServer(at.Server.Accounts))
	values := at.Request.Values(ctx)
	_, err := pending.Get(upstream.WithValues(ctx, values), func(ctx context.Context, _ *tokencache.Token) (_ *tokencache.Token, err error) {
		done, wait := l.begin(ctx, at.Server, source.Origin())
		if wait > 0 {
			return nil, &guessError{wait}
		}
		defer func() { done(credentialRefused(err)) }()
		tok, err := source.First(ctx, values, at.Request.Journal)
		if err != nil {
			return nil, err
		}
		source.Keep(Idle, user.until) // before somebody finds the user
		l.users.add(user.admitted())
		l.users.attempts.Remove(attempt{user.id, source.Origin()})
		return &tokencache.Token{Access: tok.Access, Lifetime: tok.Lifetime}, nil
	})
	return err
}

// Source returns the source of the user's tokens at an upstream. The error says that the
// client has to log in again.
func (u *User) Source(at Upstream) (*upstream.Source, error) {
	if u == nil || u.elsewhere && at.Server.Cache == nil {
		return nil, errLoginRequired
	}
	return at.Server.PassthroughSource(at.Address, Account, u.id, u.forServer(at.Server.Accounts), Idle, u.until, at.Place), nil
}

// totpOf returns the second factor of the configured account with this user, nil if
// there is none.
func totpOf(ctx context.Context, accounts []*account.Account, username string) *totp.Secret {
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

// credentialRefused reports whether the server has refused the user's credential. A
// challenge is no refusal.
func credentialRefused(err error) bool {
	var e interface{ CredentialRefused() bool }
	return errors.As(err, &e) && e.CredentialRefused()
}

// Refusal returns the refusal that a passthrough user gets for err, where r is the one
// for a request that a configured account serves. Errors of the account become errors of
// the user's credential or token. newLogin tells that the request is a login and not a
// renewal by refresh token.
func Refusal(err error, atTokenEndpoint, newLogin bool, r veeam.Refusal) veeam.Refusal {
	var failed *veeam.Error
	guess, tooMany := errors.AsType[*guessError](err)
	again := errors.Is(err, errLoginRequired) || credentialRefused(err) ||
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
