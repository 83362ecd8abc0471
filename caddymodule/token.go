// The token endpoint.

package caddymodule

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/logon"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/requestbody"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// tokenAnswer makes the response to a token request once there is a session at the
// server, whose token is tok. login is that of the user who logged in there for it,
// empty for others. The refusal is nil if the response is not one.
type tokenAnswer = func(tok *tokencache.Token, login string) (*http.Response, *veeam.Refusal)

// token decides about a token request and identifies the caller. unknown is the reason
// why the caller is not known by other means, nil if it is. Nothing is issued yet,
// because the client can use a token only if the account has a session.
func (h *Handler) token(r *http.Request, state *requestState, unknown *veeam.Refusal) *veeam.Refusal {
	request, refusal := h.readTokenRequest(r, state.presented)
	if refusal == nil {
		var issue issueFunc
		if issue, refusal = h.grantFor(r, state, request, unknown); refusal == nil {
			r.Body, r.ContentLength = http.NoBody, 0
			state.answer = h.answerWith(r, state, request, issue)
			return nil
		}
	}
	refusal.AtTokenEndpoint = true
	if refusal.Reason != veeam.ReasonThrottled && !h.answersRefusal(r) {
		refusal = &veeam.Refusal{Reason: veeam.ReasonThrottled, RetryAfter: refusalRetry, AtTokenEndpoint: true}
	}
	return refusal
}

// Refused token requests of one source above this rate are answered with a delay to
// retry instead of the reason. Valid requests are never refused because of them,
// because all clients of one machine share an address.
const (
	refusalRetry  = 5 * time.Second
	refusalMemory = 4096 // sources
)

var refusalRate = ratelimit.Rate{Burst: 20, Every: time.Second}

// answersRefusal counts a refused request and reports whether the response may contain
// the reason.
func (h *Handler) answersRefusal(r *http.Request) bool {
	return h.refusals.Allow(ratelimit.Count{Key: ratelimit.KeyOf(listener.SourceOf(r)), Rate: refusalRate})
}

// issueFunc issues the tokens of a valid request to its caller, once there is a token
// of the server.
type issueFunc = func(*policy.Caller, *tokencache.Token) (issuer.Pair, error)

func (h *Handler) readTokenRequest(r *http.Request, presented string) (*veeam.TokenRequest, *veeam.Refusal) {
	request, err := h.product.ReadLogin(r, presented)
	switch {
	case errors.Is(err, veeam.ErrRequestTooLarge):
		return nil, &veeam.Refusal{Reason: veeam.ReasonTooLarge}
	case errors.Is(err, requestbody.ErrTimeout):
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Status: http.StatusRequestTimeout, Message: "The body of the request did not arrive in time."}
	case err != nil:
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadRequest}
	}
	return request, nil
}

// grantFor returns the function that issues the tokens of a request, and sets the
// caller.
func (h *Handler) grantFor(r *http.Request, state *requestState, request *veeam.TokenRequest, unknown *veeam.Refusal) (issue issueFunc, refusal *veeam.Refusal) {
	ctx, audience := r.Context(), h.audience(r)
	lifetime := func() time.Duration {
		return h.clients.Named(state.caller.Client()).Lifetime(time.Duration(h.TokenLifetime))
	}
	if username.Check(request.Username) != nil {
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "The user name contains a control character or an invisible one."}
	}
	login := func(caller *policy.Caller, tok *tokencache.Token) (issuer.Pair, error) {
		return h.logins.Issue(ctx, h.subjectOf(r, caller), audience, lifetime(), upstream.ShapeOf(tok))
	}
	switch request.Grant {
	case veeam.GrantPassword, veeam.GrantMFA, veeam.GrantSAML, veeam.GrantSSOToken, veeam.GrantUpdaterToken, veeam.GrantJWTBearer, veeam.GrantOperator:
		if state.login, refusal = h.readLogin(r, state, request); state.login != nil || refusal != nil {
			return login, refusal
		}
		state.caller, refusal = h.loginCaller(r, request, state.caller, unknown)
		return login, refusal

	case veeam.GrantRefreshToken:
		token := request.RefreshToken.Reveal()
		sub, err := h.issuer.CheckRefresh(ctx, token, audience)
		if err == nil {
			state.caller, err = h.admit(r, sub, h.evidence(r, state.route))
		}
		if err != nil {
			return nil, h.refusalForRefresh(err)
		}
		return func(*policy.Caller, *tokencache.Token) (issuer.Pair, error) {
			return h.issuer.Refresh(ctx, token, audience, lifetime())
		}, nil

	case veeam.GrantAuthorizationCode:
		sub, err := h.issuer.Redeem(request.Code.Reveal(), audience)
		if err == nil {
			state.caller, err = h.admit(r, sub, h.evidence(r, state.route))
		}
		if err != nil {
			return nil, &veeam.Refusal{Reason: veeam.ReasonBadCredential, Detail: "the authorization code is unknown, older than a minute, or was used: " + err.Error()}
		}
		return login, nil

	case "":
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadRequest}
	}
	return nil, &veeam.Refusal{Reason: veeam.ReasonUnsupportedGrant}
}

// loginCaller identifies the caller of a login. The name of a configured client
// requires its password, wherever the request comes from. The credential of a caller
// that is known by other means, and names no client, is not checked.
func (h *Handler) loginCaller(r *http.Request, request *veeam.TokenRequest, caller policy.Caller, unknown *veeam.Refusal) (policy.Caller, *veeam.Refusal) {
	if text := request.Password.Reveal(); keys.Looks(text) {
		return h.keyed(r, text, request.Username)
	}
	named := h.clients.Named(request.Username) != nil
	if h.clients.Any() && (named || unknown != nil) {
		return h.clients.Login(r.Context(), password.Attempt{
			Site: h.audience(r), Name: request.Username, Password: request.Password.Reveal(), Source: listener.SourceOf(r), Connection: listener.ConnectionOf(r),
		})
	}
	if unknown != nil {
		return caller, &veeam.Refusal{Reason: veeam.ReasonBadCredential, Detail: "no clients are configured, and " + unknown.Detail}
	}
	return caller, nil
}

// answerWith returns the function that answers the request in the format of the
// product.
func (h *Handler) answerWith(r *http.Request, state *requestState, request *veeam.TokenRequest, issue issueFunc) tokenAnswer {
	return func(tok *tokencache.Token, login string) (*http.Response, *veeam.Refusal) {
		caller := state.caller
		caller.Login = cmp.Or(login, caller.Login)
		pair, err := issue(&caller, tok)
		if err == nil && h.ExposeUpstreamTokens && caller.Via == policy.ViaPassthrough {
			err = h.expose(r, tok, &pair)
		}
		if err != nil {
			refusal := h.refusalForRefresh(err)
			refusal.AtTokenEndpoint = true
			state.journal.Denied(caller.Identity(), *refusal)
			return answer.Refuse(h.product, r, *refusal, h.names), refusal
		}
		tokenHolders.Issued(caller.Identity(), string(caller.Via), request.Grant == veeam.GrantRefreshToken, pair)
		username := request.Username
		if username == "" && !caller.Via.ByAddress() {
			username = caller.Name // an address is not a name: the response then contains the server's
		}
		res := h.logins.Answer(r, pair, logon.Login{Grant: request.Grant, User: username, Shape: upstream.ShapeOf(tok), Site: state.origin()})
		state.found.session = answer.TakeSession(res.Header)
		return res, nil
	}
}

func (h *Handler) refusalForRefresh(err error) *veeam.Refusal {
	if refusal := h.refusalForToken(err); refusal.Reason == veeam.ReasonStorage || refusal.Reason == veeam.ReasonCanceled {
		return refusal
	}
	return &veeam.Refusal{Reason: veeam.ReasonBadRefreshToken, Detail: err.Error()}
}
