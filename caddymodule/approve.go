// Approvals by operators, for requests that a rule requires one for.

package caddymodule

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/caddymodule/routes"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// acquireApprovals prepares the approvals, if a rule requires one.
func (h *Handler) acquireApprovals(ctx caddy.Context) error {
	limits, err := h.Approvals.Limits()
	if err != nil {
		return fmt.Errorf("veeam_auth: approvals: %w", err)
	}
	if !h.rules.Requires(policy.Approve) {
		return nil
	}
	pooled, release := approval.Acquire(storages.Key(ctx.Storage()), storages.Dated{Storage: ctx.Storage()}, approval.Telling(running().metrics.Approvals, running().Events.Emit))
	h.approvals, h.release = &approval.Site{Approvals: pooled.Approvals, Limits: limits, Words: h.rules.Words}, append(h.release, release)
	h.metrics.BeginApprovals(h.product.Name)
	return atStart(ctx, func(context.Context) { pooled.Start(unseenApprovals) })
}

// unseenApprovals is called when this process cannot read approvals.
func unseenApprovals(err error) {
	caddy.Log().Named("veeam_auth.approvals").Error("approvals can be neither read nor given: requests that require one are refused", zap.Error(err))
}

// approve returns why a request that requires an approval is refused, nil if it was approved
// and has not passed yet.
func (h *Handler) approve(w http.ResponseWriter, r *http.Request, state *requestState) (refusal *veeam.Refusal) {
	here := h.site(r) // an audience may join sites with other servers, and a request may choose the server
	state.approved, refusal = h.approvals.Admit(w, r, approval.Asked{
		Product: h.product, Site: here.audience + " " + issuer.Digest(routes.Filled(r, here.bound)...), Server: strings.Join(routes.Filled(r, here.dials), " "),
		Client: asker(r, state), Account: h.actingAs(state), Sent: state.sent, Operation: state.operation, Rule: state.source,
	})
	if refusal == nil {
		state.journal.Approved(state.caller.Identity(), state.approved.ID, state.approved.By)
	}
	return refusal
}

// asker names who asks for an approval: at a unix socket with the user, so that one user neither
// uses the approval of another nor takes the places of all.
func asker(r *http.Request, state *requestState) string {
	if state.caller.Via == policy.ViaUnix {
		if source := listener.SourceOf(r); source != state.caller.Name {
			return state.caller.Name + " " + source
		}
	}
	return state.caller.Identity()
}

// actingAs is the name of the account that a request acts as, empty for none.
func (h *Handler) actingAs(state *requestState) string {
	if state.route == veeam.RouteAnonymous || state.caller.Via == policy.ViaPassthrough {
		return state.account
	}
	return cmp.Or(state.account, h.first)
}

// approvals reads a block of approval.Names, each with a value.
func (p *directiveParser) approvals(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("approvals requires a block, without arguments before it")
	}
	p.handler.Approvals = new(approval.Options)
	block, err := arguments.Block(d, "approvals", approval.Names, unrecognized, func(string) bool { return false }, p.handler.Approvals.Set, nil)
	if err == nil && !block {
		return d.Err("approvals requires a block that is not empty")
	}
	return err
}
