// What is done when a configuration starts. `caddy validate` and the commands
// provision modules too, and must touch nothing.

package caddymodule

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// atStart has do run, in a goroutine of its own, when the configuration of ctx has
// started, and never where it is only validated. The context of do ends with the
// configuration.
func atStart(ctx caddy.Context, do func(ctx context.Context)) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	return app.(*caddyevents.App).On("started", starter(func() { go do(ctx.Context) }))
}

type starter func()

// Handle implements caddyevents.Handler.
func (s starter) Handle(context.Context, caddy.Event) error {
	s()
	return nil
}

// Interface guards
var (
	_ caddyevents.Handler = starter(nil)
)
