// What the page for operators shows of requests. Package admin serves it.

package caddymodule

import (
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/page"
)

// showOnPage adds a request that has ended to the decisions on the page.
func (h *Handler) showOnPage(state *requestState, status int) {
	d := page.Decision{
		At: time.Now(), Product: h.product.Name, Client: state.caller.Identity(), Method: state.sent.Method, Path: state.sent.Path,
		Operation: state.operation.Name, Account: state.account, Decision: state.decided(), Rule: state.source, Status: status,
	}
	if state.found.refused != nil {
		d.Reason = state.found.refused.Reason
	}
	h.page.Decided(d)
}
