// Limits that come from JSON, which no directive has read.

package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

func TestAHandlerTakesNoRateThatLimitsNothing(t *testing.T) {
	t.Parallel()
	ctx := provisionContext(t, &caddy.Config{StorageRaw: fileStorage(t.TempDir())})
	h := &Handler{RateLimit: new(ratelimit.PerCaller)}
	if err := h.Provision(ctx); err == nil || !strings.Contains(err.Error(), "rate_limit") {
		t.Error(err)
	}
	_ = h.Cleanup()
}
