// Logins that no request has asked for: what a transport does when its configuration
// starts.

package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// The values of login_at.
const (
	loginAtStart   = "start"
	loginAtRequest = "request"
)

// onStart has the transport begin when its configuration starts.
func (t *Transport) onStart(ctx caddy.Context) error {
	modules := ctx.Modules()
	if len(modules) < 2 {
		return nil
	}
	proxy, ok := modules[len(modules)-2].(*reverseproxy.Handler)
	if !ok {
		return nil // provisioned by itself
	}
	log := journal.Unasked(svcLogger(ctx.Logger(Handler{})))
	return onStart(ctx, func() { t.begin(proxy, log) })
}

// begin puts the transport in force: probes count its accounts, and with login_at start
// they log in. proxy is the handler that the transport serves.
func (t *Transport) begin(proxy *reverseproxy.Handler, log journal.Journal) {
	var fixed []upstream.Fixed
	for _, u := range proxy.Upstreams {
		if place, values, err := t.dialing(u.Dial); err == nil { // otherwise the address comes with each request
			fixed = append(fixed, upstream.Fixed{Place: place, Values: values})
		}
	}
	if t.LoginAt == loginAtStart && len(fixed) < max(1, len(proxy.Upstreams)) {
		t.logger.Warn("login_at start: an upstream has no fixed address; accounts log in there for the first request")
	}
	t.server.Begin(fixed, t.LoginAt == loginAtStart, log)
}
