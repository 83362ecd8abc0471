// Clients that log in with Veeam credentials of their own, at the token endpoint:
// what they send, and what they get in place of the server's tokens.

package caddymodule

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
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

// readLogin returns nil for a token request that brings no credential of a user: who
// names a configured client has to know that client's password.
func (h *Handler) readLogin(r *http.Request, state *requestState, request *veeam.TokenRequest) (*passthrough.Login, *veeam.Refusal) {
	if h.users == nil {
		return nil, nil
	}
	if request.Grant == veeam.GrantPassword && h.clients.Named(request.Username) != nil {
		return nil, nil
	}
	login := h.users.Read(request, h.loginScope(r))
	if login == nil {
		return nil, nil
	}
	state.caller = policy.Caller{Name: login.User(), Via: policy.ViaPassthrough}
	here := password.Counts(h.audience(r), username.Bare(login.User()), sourceOf(r))
	if wait := login.CountBy(h.clients.Passwords.Failures, here); wait > 0 {
		return nil, &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: wait}
	}
	return login, nil
}

// expose replaces the issued access token by that of the server, which identifies the same
// caller then.
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
func limitedName(r *http.Request, state *requestState) string {
	if state.login != nil {
		return "\x00login from " + sourceOf(r) // no caller has such a name
	}
	return state.caller.Identity()
}

// limited is the answer to a caller that has reached a limit.
func limited(state *requestState, exceeded *ratelimit.Exceeded) veeam.Refusal {
	message := "This client sends requests too fast."
	if exceeded.Parallel {
		message = "This client has too many concurrent requests."
	}
	return veeam.Refusal{
		Reason: veeam.ReasonThrottled, RetryAfter: exceeded.RetryAfter, Message: message,
		AtTokenEndpoint: state.route == veeam.RouteToken,
	}
}
