// Whether the token endpoint answers, without a credential.

package veeam

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Knock sends a token request without a credential, when its turn has come: a renewal
// without its refresh token. It returns nil if the server answers, whatever it says.
func (c *Client) Knock(ctx context.Context) error {
	if err := c.pace(ctx, GrantRefreshToken, ratelimit.StepOnly); err != nil {
		return err
	}
	f := c.Product.newForm(GrantRefreshToken)
	to := c.operation(f)
	_, err := c.exchange(ctx, to.Method, to.Path, secret.Value{}, f)
	return c.complete(err, GrantRefreshToken)
}
