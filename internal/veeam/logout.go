// The end of a session.

package veeam

import (
	"context"
	"net/http"
)

// Logout ends a session at the server, its refresh token included. It returns
// ErrNoLogout where the product can only end all sessions of a user at once, and
// for an API key, which is not a session. A session that the server no longer
// knows counts as ended.
func (c *Client) Logout(ctx context.Context, t *Token) error {
	op := c.logout()
	if op == nil || t.Grant == GrantAPIKey {
		return ErrNoLogout
	}
	var f *form
	if c.Product.logoutField != "" {
		f = new(form)
		f.add(c.Product.logoutField, t.Access.Reveal())
	}
	ans, err := c.exchange(ctx, op.Method, op.Path, t.Access, f)
	if err != nil {
		return c.complete(err, "")
	}
	if ans.status >= 200 && ans.status <= 299 || ans.status == http.StatusUnauthorized {
		return nil
	}
	if ans.status >= 300 && ans.status <= 399 {
		return c.complete(&Error{Kind: KindMalformed, Status: ans.status, Err: errRedirect}, "")
	}
	refused := c.Product.readRefusal(ans, "", []string{t.Access.Reveal()})
	if f != nil && ans.status == c.Product.LoginRefused && refused.Kind == KindRefused {
		return nil // a token in a form that is not valid is refused like a login
	}
	return c.complete(refused, "")
}

// CanLogout reports whether the server can end one session.
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
