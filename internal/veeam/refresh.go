// The refresh grant.

package veeam

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Refresh renews a session. The refresh token cannot be used again, whatever the
// result. If the new token has no refresh token, the next renewal must be a login.
//
// An error of KindRefused means that the refresh token is not valid any more; the
// caller should then call Login. It should do so also for KindMFARequired, KindProtocol
// and KindMalformed, because only a login shows whether the error concerns the account.
//
// For a product whose sessions are Idling, Refresh asks the server whether the session
// is alive, which prolongs it, and returns the same session.
func (c *Client) Refresh(ctx context.Context, a *Account, refresh secret.Value) (*Token, error) {
	if c.Product.Idling() {
		return c.keep(ctx, refresh)
	}
	if refresh.IsZero() || c.Product.Values[GrantRefreshToken] == "" {
		return nil, c.fail(KindAccount, GrantRefreshToken, "there is no refresh token")
	}
	f := c.Product.newForm(GrantRefreshToken)
	f.add("refresh_token", refresh.Reveal())
	// Whether the new token inherits them is not documented.
	c.addOptions(f, a)
	f.secrets = append(f.secrets, a.secrets()...)
	r, err := c.ask(ctx, GrantRefreshToken, f)
	if err != nil {
		return nil, err
	}
	if r.token == nil {
		return nil, c.fail(KindRefused, GrantRefreshToken, "")
	}
	if err := c.checkUser(ctx, a, GrantRefreshToken, r.token); err != nil {
		return nil, err
	}
	return r.token, nil
}
