// The entry to every primary grant.

package veeam

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// Login gets a token by the account's grant, with all its steps. Errors of the server or of
// the connection to it are *Error; other errors are those of the functions of a.
func (c *Client) Login(ctx context.Context, a *Account) (*Token, error) {
	g := a.grant()
	if !c.Product.Accepts(g) && (g != GrantMFA || !c.Product.TakesCodes()) {
		return nil, c.fail(KindAccount, g, "the product does not support this grant for accounts")
	}
	if a.Confirm != nil {
		own := *c
		own.confirm = a.Confirm
		c = &own
	}
	switch g {
	case GrantPassword:
		return c.password(ctx, a)
	case GrantMFA:
		if a.MFAToken.IsZero() {
			return nil, c.fail(KindAccount, g, "the login needs a new verification code")
		}
		if err := c.pace(ctx, g, ratelimit.StepNext); err != nil {
			return nil, err
		}
		return c.sendCode(ctx, a, a.MFAToken, a.Password.Reveal())
	case GrantRefreshToken:
		return c.Refresh(ctx, a, a.Password)
	case GrantAuthorizationCode:
		return c.authorizationCode(ctx, a)
	case GrantPublicKey:
		return c.publicKey(ctx, a)
	case GrantAs:
		return c.as(ctx, a)
	case GrantAPIKey:
		return c.apiKey(a)
	case GrantSAML, GrantSSOToken, GrantUpdaterToken, GrantVBRToken, GrantJWTBearer, GrantOperator:
		return c.federated(ctx, a)
	}
	return nil, c.fail(KindAccount, g, "the product does not support this grant for accounts")
}
