// Limits that come from JSON, which no directive has read.

package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestALimitThatWouldLimitNothingIsAnError(t *testing.T) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{StorageRaw: fileStorage(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	for limit, ok := range map[RateLimit]bool{
		{}: false, {PerSecond: -1}: false, {PerSecond: 0.001}: false, {PerSecond: 5, Burst: -1}: false,
		{PerSecond: 0.01}: true, {PerSecond: 5, Burst: 1}: true,
	} {
		h := &Handler{RateLimit: &limit}
		err := h.Provision(ctx)
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "rate_limit") {
			t.Errorf("%+v: %v", limit, err)
		}
		_ = h.Cleanup()
	}
}
