// What the page for operators shows of requests and of the configuration. Package admin
// serves it.

package caddymodule

import (
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/page"
)

// configDigest is that of the handlers and transports of the running configuration.
var configDigest atomic.Pointer[string]

// ConfigDigest returns the hash of the running configuration, in hexadecimal.
func ConfigDigest() string { return *configDigest.Load() }

// showOnPage adds a request that has ended to the decisions on the page.
func (h *Handler) showOnPage(state *requestState, status int) {
	d := page.Decision{
		At: time.Now(), Product: h.product.Name, Client: state.caller.Identity(), Method: state.sent.Method, Path: state.sent.Path,
		Operation: state.operation.Name, Account: state.account, Decision: state.decided, Rule: state.source, Status: status,
	}
	if state.found.refused != nil {
		d.Reason = state.found.refused.Reason
	}
	h.page.Decided(d)
}
