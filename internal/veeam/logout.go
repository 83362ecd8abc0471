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
	_, err := c.End(ctx, t)
	return err
}

// End is Logout. It also reports whether the server still knew the session.
func (c *Client) End(ctx context.Context, t *Token) (known bool, err error) {
	op := c.logout()
	if op == nil || t.Grant == GrantAPIKey {
		return false, ErrNoLogout
	}
	out := outgoing{method: op.Method, path: op.Path, bearer: t.Access, secrets: []string{t.Access.Reveal()}}
	if c.Product.Idling() {
		id, _, ok := splitIdle(t.Refresh)
		if !ok {
			return false, ErrNoLogout
		}
		out.path, out.secrets = strings.Replace(op.Path, "{}", id, 1), append(out.secrets, id)
	}
	if c.Product.logoutField == "" {
		return c.end(ctx, out, nil)
	}
	// Which tokens end with the one in the form is not documented, so that both are sent,
	// the one that lives longer first.
	for _, token := range []secret.Value{t.Refresh, t.Access} {
		if token.IsZero() {
			continue
		}
		f := new(form)
		f.add(c.Product.logoutField, token.Reveal())
		knew, failed := c.end(ctx, out, f)
		if known = known || knew; err == nil {
			err = failed
		}
	}
	return known, err
}

// end sends a logout, with a form if f is not nil, and reports whether the server knew the
// session.
func (c *Client) end(ctx context.Context, out outgoing, f *form) (known bool, err error) {
	if f != nil {
		out.contentType, out.body = f.content()
		out.secrets = append(slices.Clip(out.secrets), f.secrets...)
	}
	ans, err := c.send(ctx, out)
	if err != nil {
		return false, c.complete(err, "")
	}
	gone := ans.status == http.StatusUnauthorized || ans.status == http.StatusNotFound && c.Product.Idling()
	if ans.status >= 200 && ans.status <= 299 || gone {
		return !gone, nil
	}
	if ans.status >= 300 && ans.status <= 399 {
		return false, c.complete(&Error{Kind: KindMalformed, Status: ans.status, Err: errRedirect}, "")
	}
	refused := c.Product.readRefusal(ans, "", out.secrets)
	if f != nil && ans.status == c.Product.LoginRefused && refused.Kind == KindRefused {
		return false, nil // a token in a form that is not valid is refused like a login
	}
	return false, c.complete(refused, "")
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
