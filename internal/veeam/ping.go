// Ping: whether the token endpoint answers.

package veeam

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Ping sends a token request without a credential: a renewal without a refresh token. It
// waits for Pacer, and returns nil if the server gives any answer.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.pace(ctx, GrantRefreshToken, ratelimit.StepOnly); err != nil {
		return err
	}
	f := c.Product.newForm(GrantRefreshToken)
	to := c.operation(f)
	_, err := c.exchange(ctx, to.Method, to.Path, secret.Value{}, f)
	return c.complete(err, GrantRefreshToken)
}
