// The end of a session.

package veeam

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Logout ends a session at the server, including its refresh token. It returns
// ErrNoLogout if the product cannot end a single session, and for an API key, which is
// not a session. A session that the server does not know any more counts as ended.
func (c *Client) Logout(ctx context.Context, t *Token) error {
	op := c.logout()
	if op == nil || t.Grant == GrantAPIKey {
		return ErrNoLogout
	}
	out := outgoing{method: op.Method, path: op.Path, bearer: t.Access, secrets: []string{t.Access.Reveal()}}
	if c.Product.Idling() {
		id, _, ok := splitIdle(t.Refresh)
		if !ok {
			return ErrNoLogout
		}
		out.path, out.secrets = strings.Replace(op.Path, "{}", id, 1), append(out.secrets, id)
	}
	if c.Product.logoutField == "" {
		return c.end(ctx, out, nil)
	}
	// Which tokens end with the one in the form is not documented, so that both are sent,
	// the one that lives longer first.
	var first error
	for _, token := range []secret.Value{t.Refresh, t.Access} {
		if token.IsZero() {
			continue
		}
		f := new(form)
		f.add(c.Product.logoutField, token.Reveal())
		if err := c.end(ctx, out, f); first == nil {
			first = err
		}
	}
	return first
}

// end sends a logout, with a form if f is not nil.
func (c *Client) end(ctx context.Context, out outgoing, f *form) error {
	if f != nil {
		out.contentType, out.body = f.content()
		out.secrets = append(slices.Clip(out.secrets), f.secrets...)
	}
	ans, err := c.send(ctx, out)
	if err != nil {
		return c.complete(err, "")
	}
	gone := ans.status == http.StatusUnauthorized || ans.status == http.StatusNotFound && c.Product.Idling()
	if ans.status >= 200 && ans.status <= 299 || gone {
		return nil
	}
	if ans.status >= 300 && ans.status <= 399 {
		return c.complete(&Error{Kind: KindMalformed, Status: ans.status, Err: errRedirect}, "")
	}
	refused := c.Product.readRefusal(ans, "", out.secrets)
	if f != nil && ans.status == c.Product.LoginRefused && refused.Kind == KindRefused {
		return nil // a token in a form that is not valid is refused like a login
	}
	return c.complete(refused, "")
}

// CanLogout reports whether the server can end a single session.
func (c *Client) CanLogout() bool { return c.logout() != nil }

// logout is how it does that; nil if it cannot.
func (c *Client) logout() *Operation {
	op := c.Product.SessionLogout
	if op == nil {
		return nil
	}
	if c.Product.dialects != nil && c.Product.dialect(c.version()).logout == 0 {
		return nil
	}
	return &Operation{op.Method, c.path(op.Path)}
}
