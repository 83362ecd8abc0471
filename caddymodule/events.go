// Events through Caddy's app events.

package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/page"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Provision loads the page, and prepares the queue of the events that are raised while the
// configuration is in force.
func (a *App) Provision(ctx caddy.Context) error {
	if a.PageRaw != nil {
		loaded, err := ctx.LoadModuleByID(AppID+".page", a.PageRaw)
		if err != nil {
			return err
		}
		a.page = loaded.(page.Service)
	}
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	logger, said := ctx.Logger(), new(journal.Seldom)
	a.events = events.NewQueue(func(e events.Event) {
		running().metrics.EventsDropped.WithLabelValues(string(e.Name())).Inc()
		said.Error(logger, "", "events are not delivered: a handler of events hangs, is too slow, or panics", zap.String("event", string(e.Name())))
	})
	bus := app.(*caddyevents.App)
	return atStart(ctx, func(context.Context) {
		a.events.Open(func(e events.Event) { bus.Emit(ctx, string(e.Name()), e.Data()) })
	})
}

// throttled tells that a client has to wait, unless that was told a moment ago.
func (h *Handler) throttled(r *http.Request, state *requestState, refusal veeam.Refusal) {
	if refusal.Reason != veeam.ReasonThrottled {
		return
	}
	client := state.caller.Identity()
	if running().episodes.Begins("throttled "+client, time.Now()) {
		running().Events.Emit(events.Throttled(h.product.Name, client, listener.SourceOf(r), refusal.RetryAfter))
	}
}

// keyExpires tells that a key expires soon.
func keyExpires(key *keys.Key) {
	running().Events.Emit(events.KeyExpires(key.Client, key.Name, key.Until, time.Now()))
}

// mismatched tells that a request was changed after the decision, unless that was told a
// moment ago.
func (t *Transport) mismatched(state *requestState, difference string) {
	client, operation := "", ""
	if state != nil {
		client, operation = state.caller.Identity(), state.operation.Template()
	}
	if t.process.episodes.Begins("mismatch "+t.product.Name+" "+difference, time.Now()) {
		t.process.Events.Emit(events.Mismatched(t.product.Name, client, operation, difference))
	}
}
