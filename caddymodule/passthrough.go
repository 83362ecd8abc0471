// Clients that log in with Veeam credentials of their own, at the token endpoint:
// what they send, and what they get in place of the server's tokens.

package caddymodule

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/issuer"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/secret"
	"github.com/caddy-veeam/veeam-auth/tokencache"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// Wrong guesses of one user's password, wherever they come from: few enough that
// no server locks the user. A credential that the server has taken before is not
// among them.
const (
	userGuessBurst = 4
	userGuessEvery = 3 * time.Minute
)

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

	// begin counts the credential as a guess until done says whether it was wrong.
	// Nothing may be sent while wait is not zero.
	begin func() (done func(wrong bool), wait time.Duration)
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
	login := &guestLogin{book: h.guests, audience: h.Audience + " " + h.product.Name}
	switch request.Grant {
	case veeam.GrantPassword:
		if request.Username == "" || request.Password.IsZero() || h.clients.byName[request.Username] != nil {
			return nil, nil
		}
		login.account = &veeam.Account{
			Name: guestAccount.Name, Grant: veeam.GrantPassword,
			Username: request.Username, Password: request.Password, ReadOnly: request.ReadOnly,
			Demand: newDemandError(h.product),
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
	here := guessesAt(r.RemoteAddr, name)
	user := guesses{login.audience + " " + bareUser(name), userGuessEvery, userGuessBurst}
	login.begin = func() (done func(bool), wait time.Duration) {
		known, wait := h.guests.users.try(user)
		return func(wrong bool) {
			if known(wrong); wrong {
				h.clients.brake.wrong(here...)
			}
		}, wait
	}
	if h.guests.find(login.id) != nil {
		return login, nil
	}
	if wait := max(h.clients.brake.wait(here...), h.guests.users.wait(user)); wait > 0 {
		return nil, &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: wait}
	}
	return login, nil
}

// bareUser is a user without its domain, in lower case: however a user is written,
// the server counts wrong passwords for the same one.
func bareUser(name string) string {
	name = name[strings.LastIndexByte(name, '\\')+1:]
	name, _, _ = strings.Cut(name, "@")
	return strings.ToLower(name)
}

// newDemandError returns what makes a demand of the server's the guest's own.
func newDemandError(p *veeam.Product) func(secret.Value) error {
	return func(token secret.Value) error {
		return &demandError{
			err:   &veeam.Error{Kind: veeam.KindMFARequired, Product: p.Name, Grant: veeam.GrantPassword},
			token: token,
		}
	}
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
		return "login from " + hostOf(r.RemoteAddr)
	}
	return e.caller.Name
}
