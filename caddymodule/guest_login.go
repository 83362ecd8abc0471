// Guests at the server: their logins, their sessions, and what they get where the
// server refuses them.

package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

var (
	errGuestsOnly = errors.New("no account is configured: the client has to log in with a credential of its own")
	errNoGuest    = errors.New("the client has to log in again")
	errTrying     = errors.New("a verification code for this login is being tried")
)

// loginGuest finds out who the guest is, and logs it in if the server has not seen
// its credential. asked is the demand for a verification code that the guest gets
// instead.
func (t *Transport) loginGuest(req *http.Request, e *exchange) (asked *http.Response, err error) {
	login := e.guestLogin
	if login.demand != nil {
		return nil, t.tryCode(req, e)
	}
	const tries = 3
	for try := 1; ; try++ {
		if e.guest = login.book.find(login.id); e.guest == nil {
			err = t.tryPassword(req, e)
		} else {
			err = t.comeBack(req, e)
		}
		demanded, ok := errors.AsType[*veeam.DemandError](err)
		switch {
		case ok && demanded.Claim():
			token := login.book.ask(&demand{
				account: login.account, token: demanded.Token, audience: login.audience, until: time.Now().Add(demandFor),
			})
			return response(req, http.StatusOK, contentTypeJSON, t.product.AppendDemand(nil, login.account.Username, token, demanded.Shape)), nil
		case ok && try < tries:
			continue // somebody else has taken it: each gets one of its own
		case err != nil:
			return nil, err
		}
		e.caller.Login = e.guest.login()
		return nil, nil
	}
}

// comeBack gets a session for a guest whom the server knows.
func (t *Transport) comeBack(req *http.Request, e *exchange) error {
	slot, err := t.guestSlot(req, e.guest)
	if err != nil {
		return err
	}
	_, _, err = slot.Token(req.Context(), e.request())
	if _, ok := errors.AsType[*veeam.DemandError](err); ok {
		e.guestLogin.book.logins.Remove(e.guest.id) // it has a second factor now
	}
	return err
}

// tryPassword logs in with a password that the server has not seen yet. All who
// send the same wait for one login.
func (t *Transport) tryPassword(req *http.Request, e *exchange) error {
	login := e.guestLogin
	g := &guest{id: login.id, account: login.account, until: time.Now().Add(guestFor)}
	attempt := login.book.attempt(g.id, t.server.Session)
	err := t.try(req, e, attempt, g)
	if _, ok := errors.AsType[*veeam.DemandError](err); ok {
		login.book.attempts.Remove(g.id)
	}
	if e.guest = login.book.find(g.id); e.guest == nil && err == nil {
		return errNoGuest
	}
	return err
}

// tryCode completes a login with the guest's verification code. The session that
// comes of it is for this guest alone: the next one has to send a code too.
func (t *Transport) tryCode(req *http.Request, e *exchange) error {
	login := e.guestLogin
	d := login.demand
	if !d.mu.TryLock() {
		return errTrying
	}
	defer d.mu.Unlock()
	account := *d.account
	account.Grant, account.MFAToken, account.Password, account.ReturnDemand = veeam.GrantMFA, d.token, login.code, false
	g := &guest{id: rand.Text(), account: &account, until: time.Now().Add(guestFor)}
	err := t.try(req, e, tokencache.NewSession(t.server.Session), g)
	if d.tries++; err == nil || d.tries == demandTries {
		login.book.demands.Remove(login.token.Reveal())
	}
	if err == nil {
		e.guest = g.admitted()
		e.caller.Login = e.guest.login()
	}
	return err
}

// try logs a guest in. Only if that succeeds its session is kept, and the guest
// remembered.
func (t *Transport) try(req *http.Request, e *exchange, attempt *tokencache.Session, g *guest) error {
	login := e.guestLogin
	slot := t.server.NewGuest(t.place(req), guestAccount, g.id, g.as(t.Accounts))
	values, log := grantValues(req.Context()), e.journal
	_, err := attempt.Get(upstream.WithValues(req.Context(), values), func(ctx context.Context, _ *tokencache.Token) (_ *tokencache.Token, err error) {
		done, wait := login.begin(ctx, t, slot.Origin())
		if wait > 0 {
			return nil, &guessError{wait}
		}
		defer func() { done(refusedGuest(err)) }()
		tok, err := slot.First(ctx, values, log)
		if err != nil {
			return nil, err
		}
		login.book.add(g.admitted())
		slot.Keep(guestIdle, g.until)
		return &tokencache.Token{Access: tok.Access, Lifetime: tok.Lifetime}, nil
	})
	return err
}

// guestSlot is the place of a guest at an upstream.
func (t *Transport) guestSlot(req *http.Request, g *guest) (*upstream.Source, error) {
	if g == nil || g.elsewhere && t.Cache.shared() == nil {
		return nil, errNoGuest
	}
	return t.server.Guest(dialed(req), guestAccount, g.id, g.as(t.Accounts), guestIdle, g.until, func() upstream.Place { return t.place(req) }), nil
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

// guestRefusal turns the refusal of a request into one for a guest: where an account
// of ours would be to blame, it is the guest's credential.
func guestRefusal(err error, e *exchange, r veeam.Refusal) veeam.Refusal {
	var failed *veeam.Error
	guess, tooMany := errors.AsType[*guessError](err)
	again := errors.Is(err, errNoGuest) || refusedGuest(err) ||
		errors.As(err, &failed) && (failed.Kind == veeam.KindMFARequired || failed.Kind == veeam.KindAccount)
	switch {
	case errors.Is(err, errGuestsOnly):
		return veeam.Refusal{Reason: veeam.ReasonNoToken}
	case errors.Is(err, errTrying):
		return veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: time.Second}
	case tooMany:
		return veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: max(r.RetryAfter, guess.wait)}
	case !again:
		return r
	case e.route != veeam.RouteToken:
		return veeam.Refusal{Reason: veeam.ReasonExpiredToken}
	case e.guestLogin == nil:
		return veeam.Refusal{Reason: veeam.ReasonBadRefreshToken}
	}
	return veeam.Refusal{Reason: veeam.ReasonBadCredential}
}
