// Package logon answers the token endpoint of every product with what an issuer issues,
// and the requests of clients that never reach the server: logouts, requests for
// authorization codes, and requests for the sessions of clients that log in by Basic.
package logon

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Endpoint answers the token endpoint of one product. See For.
type Endpoint interface {
	// Issue issues the tokens, or the session, of a login. shape is the shape of the
	// server's own response to the login; it may be nil. The error is that of the
	// issuer.
	Issue(ctx context.Context, sub issuer.Subject, audience string, lifetime time.Duration, shape *veeam.Shape) (issuer.Pair, error)

	// Answer returns the response to a successful login or refresh.
	Answer(r *http.Request, pair issuer.Pair, login Login) *http.Response

	// Here returns the response to a request that never reaches the server.
	Here(r *http.Request, q Question) *http.Response
}

// Login is a successful login.
type Login struct {
	Grant veeam.Grant
	User  string       // as sent by the client; may be empty
	Shape *veeam.Shape // shape of the server's own response; may be nil
	Site  string       // scheme and host by which the client addresses this site
}

// Question is a request of a client about its login: a logout, a request for an
// authorization code, or a request for sessions.
type Question struct {
	Route     veeam.Route
	Method    string // the method of the decision
	Presented string // the token or session of the request
	Caller    *policy.Caller
	Subject   func() issuer.Subject // returns the caller's subject
	Audience  string
	Site      string // scheme and host by which the client addresses this site
}

// For returns the endpoint of a product, which issues with i.
func For(p *veeam.Product, i *issuer.Issuer) Endpoint {
	if p.LogsOnByBasic() {
		return sessions{p, i}
	}
	return tokens{p, i}
}

// tokens is the endpoint of a product whose clients present a bearer token.
type tokens struct {
	product *veeam.Product
	issuer  *issuer.Issuer
}

func (t tokens) Issue(ctx context.Context, sub issuer.Subject, audience string, lifetime time.Duration, _ *veeam.Shape) (issuer.Pair, error) {
	return t.issuer.Issue(ctx, sub, audience, lifetime)
}

func (t tokens) Answer(r *http.Request, pair issuer.Pair, login Login) *http.Response {
	return answer.New(r, http.StatusOK, typeJSON, t.product.AppendTokenAnswer(nil, veeam.Answer{
		AccessToken:  pair.Access,
		RefreshToken: pair.Refresh,
		Issued:       pair.Issued,
		Lifetime:     pair.Lifetime,
		Username:     login.User,
		Grant:        login.Grant,
		Path:         r.URL.Path,
	}, login.Shape))
}

// Here answers logouts, which would end the session of all, and requests for
// authorization codes, which would give it away.
func (t tokens) Here(r *http.Request, q Question) *http.Response {
	if q.Route == veeam.RouteLogout {
		if q.Caller.Family != "" {
			t.issuer.End(q.Caller.Identity(), q.Caller.Family)
		}
		status, body := t.product.Logout(r.URL.Path)
		return answer.New(r, status, typeJSON, body)
	}
	code := t.issuer.Code(q.Subject(), q.Audience)
	return answer.New(r, http.StatusOK, typeJSON, []byte(`{"code":`+strconv.Quote(code)+`}`))
}

const typeJSON = "application/json"
