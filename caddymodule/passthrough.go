// Clients that log in with Veeam credentials of their own, at the token endpoint:
// what they send, and what they get in place of the server's tokens.

package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// Wrong guesses of one user's password, wherever they come from: few enough that
// no server locks the user. A credential that the server has taken before is not
// among them.
const (
	userGuessBurst = 4
	userGuessEvery = 3 * time.Minute
)

var userGuessRate = ratelimit.Rate{Burst: userGuessBurst, Every: userGuessEvery}

// guestLogin is a token request with a credential of the client's own.
type guestLogin struct {
	book *guestBook
	id   string

	account  *veeam.Account
	audience string

	// demand is what code, the verification code, answers; nil for a password.
	demand *demand
	token  secret.Value // what stands for the demand
	code   secret.Value

	// failures counts wrong credentials, here are the counts of the sender.
	failures *ratelimit.Limiter
	here     []ratelimit.Count
}

// begin counts the credential as a wrong one, for its sender and for its user at a
// server and a site, until done says whether it was. Nothing may be sent while wait is not zero.
func (l *guestLogin) begin(ctx context.Context, t *Transport, origin string) (done func(wrong bool), wait time.Duration) {
	sender, wait := l.failures.Try(l.here...)
	if wait > 0 {
		return nil, wait
	}
	count := tokencache.GuessCount{Product: t.product.Name, Origin: origin, User: username.Bare(l.account.Username), Rate: userGuessRate}
	user, wait := l.book.users.Try(
		ratelimit.Count{Key: ratelimit.KeyOf("server", count.Product, count.Origin, count.User), Rate: count.Rate},
		ratelimit.Count{Key: ratelimit.KeyOf("site", l.audience, count.User), Rate: count.Rate}, // its servers may have the same users
	)
	if wait > 0 {
		sender(false)
		return nil, wait
	}
	shared := false
	if t.Cache.shared() != nil {
		var err error
		wait, err = t.Cache.pooled.TryGuess(ctx, count)
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
			_ = t.Cache.pooled.ReturnGuess(context.WithoutCancel(ctx), count)
		}
	}, 0
}

// guessError says that too many credentials of one user are being tried, or were
// wrong.
type guessError struct{ wait time.Duration }

func (e *guessError) Error() string { return "too many wrong passwords or codes for this user" }

// Delay is how long to wait.
func (e *guessError) Delay() time.Duration { return e.wait }

var errExposeAlone = errors.New("veeam_auth: expose_upstream_tokens is about clients with Veeam credentials of their own; write passthrough too")

// welcomeGuests prepares the handler for guests, if it has any.
func (h *Handler) welcomeGuests() error {
	switch {
	case h.Passthrough:
		h.guests = acquireGuests()
	case h.ExposeUpstreamTokens:
		return errExposeAlone
	}
	if h.ExposeUpstreamTokens {
		h.logger.Warn("expose_upstream_tokens: clients get tokens of the server, which are good without veeam-auth and its rules")
	}
	return nil
}

// readGuestLogin returns nil for a token request that is not that of a guest: who
// names a configured client has to know that client's password.
func (h *Handler) readGuestLogin(r *http.Request, e *exchange, request *veeam.TokenRequest) (*guestLogin, *veeam.Refusal) {
	if h.guests == nil {
		return nil, nil
	}
	login := &guestLogin{book: h.guests, audience: h.guestScope(r)}
	switch request.Grant {
	case veeam.GrantPassword:
		if request.Username == "" || request.Password.IsZero() || h.clients.byName[request.Username] != nil {
			return nil, nil
		}
		login.account = &veeam.Account{
			Name: guestAccount.Name, Grant: veeam.GrantPassword,
			Username: request.Username, Password: request.Password, ReadOnly: request.ReadOnly,
			ReturnDemand: true,
		}
		login.id = guestID(login.audience, request.Username, request.Password.Reveal(), request.ReadOnly)
	case veeam.GrantMFA:
		login.demand = h.guests.asked(request.MFAToken, login.audience)
		if login.demand == nil || request.MFACode.IsZero() {
			return nil, nil
		}
		login.account, login.token, login.code = login.demand.account, request.MFAToken, request.MFACode
	default:
		return nil, nil
	}
	name := login.account.Username
	e.caller = policy.Caller{Name: name, Via: policy.ViaPassthrough}
	login.failures, login.here = h.clients.passwords.Failures, password.Counts(h.audience(r), username.Bare(name), sourceOf(r))
	if h.guests.find(login.id) != nil {
		return login, nil
	}
	if wait := login.failures.Wait(login.here...); wait > 0 {
		return nil, &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: wait}
	}
	return login, nil
}

// expose puts the server's access token in the place of ours, and has it stand for
// the same caller.
func (h *Handler) expose(r *http.Request, tok *tokencache.Token, pair *issuer.Pair) error {
	audience := h.audience(r)
	sub, err := h.issuer.Check(r.Context(), pair.Access, audience)
	if err != nil {
		return err
	}
	pair.Access, pair.Issued, pair.Lifetime = tok.Access.Reveal(), time.Now(), time.Until(tok.Expires())
	h.issuer.Adopt(pair.Access, sub, audience, tok.Expires())
	return nil
}

// limitedName is under whose name a request counts for the limits. Who wants to
// log in has only said so far who it is.
func limitedName(r *http.Request, e *exchange) string {
	if e.guestLogin != nil {
		return "\x00login from " + sourceOf(r) // no caller has such a name
	}
	return e.caller.Identity()
}
