// Limits of each caller: requests per second, and at once.

package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// RateLimit is how fast one caller may send requests.
type RateLimit struct {
	// Requests per second, at least 0.01. Required.
	PerSecond float64 `json:"per_second"`

	// How many requests may come at once before the rate counts. Default: the
	// rate, rounded up.
	Burst int `json:"burst,omitempty"`
}

// validate refuses what would limit nothing.
func (l *RateLimit) validate() error {
	switch {
	case l == nil:
	case !(l.PerSecond >= 0.01):
		return fmt.Errorf("rate_limit: %v is not a rate of at least 0.01 requests per second", l.PerSecond)
	case l.Burst < 0:
		return errors.New("rate_limit: the burst is negative")
	}
	return nil
}

// newLimits returns nil if nothing is limited.
func newLimits(configured *RateLimit, parallel int) *ratelimit.Callers {
	switch {
	case configured == nil && parallel == 0:
		return nil
	case configured == nil:
		return ratelimit.NewCallers(0, 0, parallel)
	}
	burst := cmp.Or(configured.Burst, int(math.Ceil(configured.PerSecond)))
	return ratelimit.NewCallers(configured.PerSecond, burst, parallel)
}

// limited is the answer to a caller that has reached a limit.
func limited(e *exchange, exceeded *ratelimit.Exceeded) veeam.Refusal {
	message := "This client sends requests too fast."
	if exceeded.Parallel {
		message = "This client has too many requests at once."
	}
	return veeam.Refusal{
		Reason: veeam.ReasonThrottled, RetryAfter: exceeded.RetryAfter, Message: message,
		AtTokenEndpoint: e.route == veeam.RouteToken,
	}
}

// rateLimit reads the subdirective:
//
//	rate_limit <requests per second> [<burst>]
func (p *directiveParser) rateLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 && len(args) != 2 {
		return d.Err("rate_limit accepts the requests per second and an optional burst")
	}
	limit := new(RateLimit)
	var err error
	if limit.PerSecond, err = strconv.ParseFloat(args[0], 64); err != nil || !(limit.PerSecond >= 0.01) || math.IsInf(limit.PerSecond, 0) {
		return d.Errf("rate_limit: %q is not a rate of at least 0.01 requests per second", args[0])
	}
	if len(args) == 2 {
		if limit.Burst, err = strconv.Atoi(args[1]); err != nil || limit.Burst <= 0 {
			return d.Errf("rate_limit: the burst %q is not a number above zero", args[1])
		}
	}
	p.handler.RateLimit = limit
	return noBlock(d)
}
