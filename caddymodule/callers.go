// The identification of callers by connection, earlier handler or issued token.

package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/browser"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// crossSite reports that a page of another site may have caused the request.
func (h *Handler) crossSite(r *http.Request, route veeam.Route) bool {
	return browser.Site{Origins: h.origins, Hosts: h.Hosts}.CrossSite(r, route == veeam.RouteAnonymous)
}

// evidence collects the evidence for the caller of a request, except its token.
func (h *Handler) evidence(r *http.Request, route veeam.Route) policy.Evidence {
	e := policy.Evidence{
		RemoteAddr: r.RemoteAddr, Relayed: listener.Relayed(r), Host: r.Host, Hosts: h.Hosts,
		CrossSite: h.crossSite(r, route), AuthenticationRequired: h.RequireAuthentication,
	}
	e.Unix = listener.OverUnix(r)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		e.User, _ = repl.GetString("http.auth.user.id")
	}
	e.Certificate, e.CertificateErr = tlspin.ClientSubject(r.TLS)
	return e
}

// identify identifies the caller. The refusal is nil if the caller is known. A token in
// the request must be valid, even if the caller needs none, so that a client notices
// that its token has expired. Where no token is required, at the token endpoint and on
// anonymous routes, an invalid one is ignored.
func (h *Handler) identify(r *http.Request, route veeam.Route, token string) (policy.Caller, *veeam.Refusal) {
	ev := h.evidence(r, route)
	if caller, ok := ev.Authenticated(); ok {
		return caller, nil
	}
	var unknown *veeam.Refusal
	if token != "" && route != veeam.RouteToken {
		caller, refusal := h.presented(r, token, ev)
		if refusal == nil || route != veeam.RouteAnonymous {
			return caller, refusal
		}
		unknown = refusal
	}
	if caller, ok := ev.Certified(); ok {
		return caller, nil
	}
	if caller, ok := ev.Address(); ok {
		return caller, nil
	}
	if unknown == nil {
		unknown = &veeam.Refusal{Reason: veeam.ReasonNoToken, Detail: ev.Hint()}
	}
	return policy.Caller{}, unknown
}

// presented returns the caller of a token or key. A token of an identity provider never
// counts as one that was issued here, and the other way round: its issuer decides.
func (h *Handler) presented(r *http.Request, text string, ev policy.Evidence) (policy.Caller, *veeam.Refusal) {
	if keys.Looks(text) {
		return h.keyed(r, text, "")
	}
	caller, trusted, unreadable := h.jwts.Caller(r.Context(), text)
	err := unreadable
	if !trusted {
		var sub issuer.Subject
		if sub, err = h.issuer.Check(r.Context(), text, h.audience(r)); err == nil {
			caller, err = h.admit(r, sub, ev)
		}
	}
	if err == nil {
		return caller, nil
	}
	unknown := h.refusalForToken(err)
	if errors.Is(err, issuer.ErrInvalid) {
		unknown.Detail = issuer.Explain(text, h.audience(r))
		if unreadable != nil {
			unknown.Detail = unreadable.Error()
		}
	}
	return policy.Caller{}, unknown
}

// keyed returns the caller of a key, which must be that of the client with the name, unless
// the name is empty.
func (h *Handler) keyed(r *http.Request, text, name string) (policy.Caller, *veeam.Refusal) {
	caller, err := h.keys.Caller(r.Context(), password.Attempt{Site: h.audience(r), Name: name, Password: text, Source: listener.SourceOf(r)}, listener.PeerOf(r))
	if err != nil {
		return policy.Caller{}, h.refusalForToken(err)
	}
	return caller, nil
}

var (
	errOtherPlace = errors.New("the token was issued to a caller known only by its address")
	errNoClient   = errors.New("the token was issued to a client that is no longer configured")
	errOtherKey   = errors.New("the token was issued to a caller with a client certificate, and is valid only together with that certificate's key")
	errNotVouched = errors.New("the password or login behind the token has changed")
)

// admit turns the subject of a valid token into a caller. The evidence for the caller
// at the time of its login must still exist: a client must be configured with the same
// hash, and acts as its current account; a certificate with the same subject and key
// must be presented by the connection (RFC 8705); a user of basic_auth must have the
// same hash. If the address was the only evidence, the token is valid only where the
// address is accepted, and gives no more rights.
func (h *Handler) admit(r *http.Request, sub issuer.Subject, ev policy.Evidence) (policy.Caller, error) {
	caller, err := policy.ParseIdentity(sub.Client)
	if err != nil {
		return policy.Caller{}, issuer.ErrInvalid
	}
	caller.Account, caller.Login, caller.Family, caller.Until, caller.Made = sub.Account, sub.Login, sub.Family, sub.Until, sub.Made
	switch {
	case caller.Via == policy.ViaJWT: // gets no tokens here
		return policy.Caller{}, errNotVouched
	case caller.Via == policy.ViaCertificate && (ev.Certificate != caller.Name || sub.Vouch == ""):
		return policy.Caller{}, errOtherKey
	case caller.Via.ByAddress():
		if here, _ := ev.Address(); here.Via != caller.Via {
			return policy.Caller{}, errOtherPlace
		}
	case caller.Via == policy.ViaClient && strings.HasPrefix(sub.Vouch, keyVouch):
		keyed, err := h.keys.CallerByID(r.Context(), strings.TrimPrefix(sub.Vouch, keyVouch), caller.Name, listener.PeerOf(r))
		if err != nil {
			return policy.Caller{}, err
		}
		caller.Account, caller.Key = keyed.Account, keyed.Key
	case caller.Via == policy.ViaClient:
		client := h.clients.Named(caller.Name)
		if client == nil {
			return policy.Caller{}, errNoClient
		}
		caller.Account = client.Account
		if client.Holder != nil {
			client.Holder.Touch(time.Now())
		}
	case caller.Via == policy.ViaPassthrough:
		if h.users.Of(caller.Login, caller.Name) == nil {
			return policy.Caller{}, issuer.ErrExpired // the client must log in again
		}
	}
	if h.vouch(r, &caller) != sub.Vouch {
		if caller.Via == policy.ViaCertificate {
			return policy.Caller{}, errOtherKey
		}
		return policy.Caller{}, errNotVouched
	}
	return caller, nil
}

// Ended implements forwarder.Admission: it returns why the caller would be refused by now,
// because its login, client or key, or the identity provider of its token or that one's key,
// has ended, was revoked or is no longer configured. Tokens that have expired do not count:
// clients renew them, and go on with what they have begun. Nor does a storage that cannot be
// read.
func (state *requestState) Ended() (err error) {
	h, c := state.handler, &state.caller
	refusal := veeam.Refusal{Reason: veeam.ReasonBadToken}
	if c.Family != "" {
		err = h.issuer.Ended(c.Identity(), c.Family, c.Made)
	}
	if err == nil && c.Via == policy.ViaClient && !tokenHolders.Configured(c.Name) {
		err = errNoClient
	}
	if err == nil && c.Provider != "" {
		err = h.jwts.Ended(state.presented)
	}
	if err == nil && c.Key != nil {
		if gone, ok := errors.AsType[*keys.Error](h.keys.Check(state.ctx, c.Key)); ok {
			refusal.Reason, err = gone.Reason(), gone
		}
	}
	if err != nil {
		refusal.Detail = "what was under way ends: " + err.Error()
		state.journal.Denied(c.Identity(), refusal)
	}
	return err
}

// Began implements forwarder.Admission.
func (state *requestState) Began() time.Time { return state.journal.Started() }

// refusalForToken returns the refusal for an error of a token. Its Detail tells the
// operator what to correct.
func (h *Handler) refusalForToken(err error) *veeam.Refusal {
	var unreadable *issuer.KeysError
	var keysUnreadable *keys.UnreadableError
	if refused, ok := errors.AsType[interface {
		error
		Refusal() *veeam.Refusal
	}](err); ok {
		return refused.Refusal()
	}
	switch {
	case errors.Is(err, issuer.ErrExpired):
		return &veeam.Refusal{Reason: veeam.ReasonExpiredToken, Detail: "the token has expired"}
	case errors.Is(err, context.Canceled):
		return &veeam.Refusal{Reason: veeam.ReasonCanceled}
	case errors.As(err, &unreadable), errors.As(err, &keysUnreadable):
		h.said.Error(h.logger, "tokens", "tokens can be neither issued nor verified", zap.Error(err))
		return &veeam.Refusal{Reason: veeam.ReasonStorage}
	}
	return &veeam.Refusal{Reason: veeam.ReasonBadToken, Detail: err.Error()}
}
