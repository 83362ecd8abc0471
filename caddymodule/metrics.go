// The collectors of the process in the registry of each configuration.

package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/metrics"
)

// upstreams is what the process knows of upstream servers. It outlives reloads.
var upstreams = NewState()

// collectors are made once, so that counters survive reloads.
var collectors = metrics.New(upstreams.Live)

func registerMetrics(ctx caddy.Context) (*metrics.Set, error) {
	if err := collectors.Register(ctx.GetMetricsRegistry()); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return collectors, nil
}
