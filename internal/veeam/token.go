// What a grant yields.

package veeam

import (
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// Token is a session of an account at a server.
type Token struct {
	// Access is the bearer token. Never empty.
	Access secret.Value

	// Refresh renews the session, once: the products document that every renewal
	// gives a new pair. Empty if the server sent none.
	Refresh secret.Value

	// Requested is the moment before the request was sent, with the monotonic
	// clock. The lifetime counts from here.
	Requested time.Time

	// Lifetime is the lifetime of the access token, between one second and
	// MaxLifetime. See readLifetime for every case of expires_in.
	Lifetime time.Duration

	// Grant is the grant that gave this token: GrantMFA after a verification
	// code, GrantRefreshToken after a renewal, otherwise the account's own.
	Grant Grant

	// Shape is what the server's answer looked like, for answers of our own. Nil
	// where there was no answer (GrantAPIKey).
	Shape *Shape
}
