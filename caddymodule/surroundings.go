// What is told about listeners without a site, and the start of a configuration.

package caddymodule

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
)

// meetServer does what each server of a configuration needs once, however many sites it
// has: it follows the server's connections and warns of what clients of it will meet.
func (h *Handler) meetServer(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil
	}
	app, _, err := appAround(ctx)
	if err != nil {
		return err
	}
	if app.first(server) {
		listener.Watch(server)
		h.warnUnserved(server)
	}
	if h.product.HTTP1 && app.first(later{server}) {
		h.warnLater(server)
	}
	return nil
}

// later is a server of whose protocols after HTTP/1.1 was warned.
type later struct{ server *caddyhttp.Server }

// warnUnserved logs the names for which Caddy would answer 200 with an empty body,
// which a client takes for success.
func (h *Handler) warnUnserved(server *caddyhttp.Server) {
	if names := listener.UnservedNames(server); len(names) > 0 {
		h.logger.Warn("no site has these names of this machine: Caddy answers requests for them with 200 and an empty body, and veeam_auth never sees them; "+
			"use a port as the site address, such as :9419, and list names that clients use under hosts",
			zap.Strings("listen", server.Listen), zap.Strings("names", names))
	}
}

// warnLater logs the protocols after HTTP/1.1, which clients of the product may not support.
func (h *Handler) warnLater(server *caddyhttp.Server) {
	if protocols := listener.LaterProtocols(server); len(protocols) > 0 {
		h.logger.Warn("clients of "+h.product.Title+" may need HTTP/1.1: later protocols write the names of headers in lower case; "+
			"use the global option servers { protocols h1 }",
			zap.Strings("listen", server.Listen), zap.Strings("protocols", protocols))
	}
}

// atStart runs do in a new goroutine when the configuration of ctx has started. It does
// not run if the configuration is only validated. The context of do ends with the
// configuration.
func atStart(ctx caddy.Context, do func(ctx context.Context)) error {
	return onStart(ctx, func() { go do(ctx.Context) })
}

// onStart runs do when the configuration of ctx has started, before the configuration
// that it replaces stops.
func onStart(ctx caddy.Context, do starter) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	return app.(*caddyevents.App).On("started", do)
}

type starter func()

// Handle implements caddyevents.Handler.
func (s starter) Handle(context.Context, caddy.Event) error {
	s()
	return nil
}

var _ caddyevents.Handler = starter(nil)
