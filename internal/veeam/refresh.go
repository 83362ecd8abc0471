// The refresh grant.

package veeam

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Refresh renews a session. The refresh token is used up by it, whatever comes
// back; if the new token has none, the next renewal is a new login.
//
// An error of KindRefused says that the refresh token is dead; the caller then
// falls back to Login. The same goes for KindMFARequired, KindProtocol and
// KindMalformed: whatever a server finds wrong with a renewal, only a login
// shows whether it speaks of the account.
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
