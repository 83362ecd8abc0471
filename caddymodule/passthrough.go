// Logins of clients with their own Veeam credentials at the token endpoint.

package caddymodule

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// checkExpose refuses expose_upstream_tokens where it cannot work.
func (h *Handler) checkExpose(product *veeam.Product) error {
	switch {
	case !h.ExposeUpstreamTokens:
		return nil
	case !h.Passthrough:
		return errors.New("veeam_auth: expose_upstream_tokens requires passthrough")
	case product.LogsOnByBasic():
		return errors.New("veeam_auth: expose_upstream_tokens is not allowed for product " + product.Name + ": clients get no session of the server")
	}
	return nil
}

// acquireUsers prepares the handler for users of passthrough, if it has any.
func (h *Handler) acquireUsers() error {
	if err := h.checkExpose(h.product); err != nil {
		return err
	}
	if h.Passthrough {
		h.users = passthrough.Acquire()
	}
	if h.ExposeUpstreamTokens {
		h.logger.Warn("expose_upstream_tokens: clients get tokens of the server, which are valid without veeam-auth and its rules")
	}
	return nil
}

// readLogin returns the login of a user with its own Veeam credentials. It returns nil
// for other token requests; the name of a configured client always requires that
// client's password. A login with a credential that is none of a user is refused: whoever
// sends one, such as a code for a challenge that is over, must not become the account of
// the address that it comes from.
func (h *Handler) readLogin(r *http.Request, state *requestState, request *veeam.TokenRequest) (*passthrough.Login, *veeam.Refusal) {
	if h.users == nil {
		return nil, nil
	}
	if request.Grant == veeam.GrantPassword && h.clients.Named(request.Username) != nil || keys.Looks(request.Password.Reveal()) {
		return nil, nil
	}
	login := h.users.Read(request, h.loginScope(r))
	switch {
	case login != nil:
	case request.Grant == veeam.GrantPassword && request.Username == "" && request.Password.IsZero():
		return nil, nil // nobody logs in: the caller is known by other means, or refused
	default:
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadCredential, Detail: "with passthrough, a login requires a user and a password, or a verification code for a challenge that has not expired"}
	}
	if keys.Within(request.Username) || keys.Within(request.Password.Reveal()) ||
		slices.ContainsFunc(request.Fields, func(f veeam.Field) bool { return keys.Within(f.Value.Reveal()) }) {
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadCredential, Detail: "the login holds a key, which is not sent to the server; a key is a password of its own"}
	}
	state.caller = policy.Caller{Name: login.User(), Via: policy.ViaPassthrough}
	here := password.Counts(h.audience(r), username.Bare(login.User()), listener.SourceOf(r))
	if wait := login.CountBy(h.clients.Passwords.Failures, here); wait > 0 {
		return nil, &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: wait}
	}
	return login, nil
}

// expose replaces the issued access token with that of the server, which then
// identifies the same caller.
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
