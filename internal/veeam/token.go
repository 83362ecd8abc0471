// Token: the result of a grant.

package veeam

import (
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Token is a session of an account at a server.
type Token struct {
	// Access is the access token. Never empty.
	Access secret.Value

	// Refresh is the refresh token, which renews the session once: according to the
	// documentation of the products, every renewal returns a new pair. Empty if the
	// server sent none.
	Refresh secret.Value

	// Requested is the time immediately before the request was sent, with a monotonic
	// clock reading. Lifetime counts from it.
	Requested time.Time

	// Lifetime is the lifetime of the access token, between one second and MaxLifetime.
	// See readLifetime for every case of expires_in.
	Lifetime time.Duration

	// Grant is the grant that returned the token: GrantMFA after a verification code,
	// GrantRefreshToken after a renewal, otherwise the account's own.
	Grant Grant

	// Shape is the format of the server's response, for the responses of veeam-auth.
	// Nil if there was no response (GrantAPIKey).
	Shape *Shape

	offset time.Duration // how far the server's clock was ahead when it answered
}
