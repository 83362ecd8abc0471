// What limits the requests of one caller.

package caddymodule

import (
	"net/http"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/username"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// enter counts a request for the limits of its caller, or returns the exceeded limit. Call
// leave when the request has ended.
//
// Where nobody is named, the source counts: one user at a unix socket does not use up the
// requests of another, nor one stranger those of all. The name in a login is not verified yet.
// Sources have limits of their own, so that however many there are, known callers stay known.
// Programs on the loopback address cannot be told apart. A user of passthrough has one limit,
// however the server lets it write its name.
func (h *Handler) enter(r *http.Request, state *requestState) (leave func(), exceeded *ratelimit.Exceeded) {
	limits, name := h.clients.Named(state.caller.Client()).Callers(h.limits), state.caller.Identity()
	switch {
	case state.login != nil, state.caller.Via == policy.ViaUnix, name == "":
		limits, name = h.sources, listener.SourceOf(r)
	case state.caller.Via == policy.ViaPassthrough:
		name = string(policy.ViaPassthrough) + ":" + username.Bare(state.caller.Name)
	}
	if limits == nil {
		return func() {}, nil
	}
	return limits.Enter(name)
}
