// Which API version a server speaks, where neither the configuration nor the
// client says it.

package caddymodule

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/veeam"
)

// findVersion asks the server once for the newest version that it serves. An
// empty answer stands for the product's default.
func (s *slot) findVersion(ctx context.Context, client *veeam.Client) string {
	if found := s.version.Load(); found != nil {
		return *found
	}
	version, err := client.FindVersion(ctx)
	if err != nil {
		return "" // not now; the next login asks again
	}
	s.version.Store(&version)
	return version
}

// foundVersion is the version that was found, or empty.
func (s *slot) foundVersion() string {
	if found := s.version.Load(); found != nil {
		return *found
	}
	return ""
}
