// Package logon answers the logins of clients, and what clients ask about them, in the
// form of the product: with tokens, or with sessions where clients log in by Basic.
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

// Endpoint answers logins to one product with what an issuer issues. See For.
type Endpoint interface {
	// Issue issues what a login gets. shape is that of the server's own answer, which may
	// be nil. The error is that of the issuer.
	Issue(ctx context.Context, sub issuer.Subject, audience string, lifetime time.Duration, shape *veeam.Shape) (issuer.Pair, error)

	// Answer is the answer to a login, or to a refresh.
	Answer(r *http.Request, pair issuer.Pair, login Login) *http.Response

	// Here answers a question that never reaches the server.
	Here(r *http.Request, q Question) *http.Response
}

// Login is a login that has succeeded.
type Login struct {
	Grant veeam.Grant
	User  string       // as the client named it; may be empty
	Shape *veeam.Shape // of the server's own answer; may be nil
	Site  string       // what the client calls this site: scheme and host
}

// Question is what a client asks about its login: to end it, to show it, or for an
// authorization code.
type Question struct {
	Route     veeam.Route
	Method    string // that was decided about
	Presented string // token or session
	Caller    *policy.Caller
	Subject   func() issuer.Subject // of the caller
	Audience  string
	Site      string // what the client calls this site: scheme and host
}

// For returns the endpoint of a product.
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
