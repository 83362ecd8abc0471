// What the modules ask of the Caddy around them: who is at the other end of a
// connection, which names no site has, and when a configuration starts.

package caddymodule

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// relayed reports whether another proxy has passed the request on. Behind one on
// this machine every caller comes from a loopback address.
func relayed(r *http.Request) bool {
	if c := process.ConnectionOf(r.Context()); c != nil && !c.Direct() {
		return true
	}
	for name := range r.Header {
		if headers.IsRelay(name) {
			return true
		}
	}
	return false
}

// watchConnections has a server put its connections into the context of their
// requests.
func watchConnections(ctx context.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterConnContext(process.WithConnection)
}

// sourceOf is where a request comes from, as far as it can be told: a user at a unix
// socket, or an address. Behind a proxy that Caddy trusts it is the address that the
// proxy names.
func sourceOf(r *http.Request) string {
	if found, ok := process.PeerOfRequest(r.Context()); ok {
		return "uid " + strconv.Itoa(found.UID)
	}
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && address != "" {
		return ratelimit.Source(address)
	}
	return ratelimit.Source(r.RemoteAddr)
}

// warnUnserved logs under which names Caddy would answer 200 with an empty body,
// which a client takes for success, and which protocols clients may not understand.
func (h *Handler) warnUnserved(ctx context.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	if names := unservedNames(server); len(names) > 0 {
		h.logger.Warn("no site has these names of this machine: Caddy answers requests for them with 200 and an empty body, and veeam_auth never sees them; "+
			"use a port as the site address, such as :9419, and list names that clients use under hosts",
			zap.Strings("listen", server.Listen), zap.Strings("names", names))
	}
	if protocols := laterProtocols(server); h.product.HTTP1 && len(protocols) > 0 {
		h.logger.Warn("clients of "+h.product.Title+" may need HTTP/1.1: later protocols write the names of headers in lower case; "+
			"use the global option servers { protocols h1 }",
			zap.Strings("listen", server.Listen), zap.Strings("protocols", protocols))
	}
}

// laterProtocols are those that a server speaks beside HTTP/1.
func laterProtocols(server *caddyhttp.Server) (later []string) {
	spoken := server.Protocols
	for _, protocols := range server.ListenProtocols {
		spoken = append(slices.Clip(spoken), protocols...)
	}
	for _, protocol := range spoken {
		if protocol == "h2c" || protocol != "h1" && protocol != "" && len(server.TLSConnPolicies) > 0 {
			later = append(later, protocol)
		}
	}
	slices.Sort(later)
	return slices.Compact(later)
}

// unservedNames are the names of this machine that lead to a listener of the
// server and to none of its routes. A server with TLS has none: it has no
// certificate for other names, so no request arrives.
func unservedNames(server *caddyhttp.Server) (names []string) {
	if len(server.TLSConnPolicies) > 0 {
		return nil
	}
	served := map[string]bool{}
	for _, route := range server.Routes {
		if len(route.MatcherSets) == 0 {
			return nil
		}
		for _, set := range route.MatcherSets {
			hosts, ok := hostsOf(set)
			if !ok {
				return nil
			}
			for _, host := range hosts {
				served[strings.Trim(strings.ToLower(host), "[]")] = true
			}
		}
	}
	for _, address := range server.Listen {
		a, err := caddy.ParseNetworkAddress(address)
		if err != nil || a.IsUnixNetwork() || a.IsFdNetwork() {
			continue
		}
		reached := []string{a.Host}
		switch ip := net.ParseIP(a.Host); {
		case a.Host == "" || ip.IsUnspecified():
			reached = []string{"localhost", "127.0.0.1", "::1"}
		case ip.IsLoopback():
			reached = append(reached, "localhost")
		}
		for _, name := range reached {
			if !served[strings.ToLower(name)] {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// hostsOf are the hosts of which a set of matchers wants one, and false if it
// takes every host.
func hostsOf(set caddyhttp.MatcherSet) ([]string, bool) {
	for _, m := range set {
		switch hosts := m.(type) {
		case caddyhttp.MatchHost:
			return hosts, true
		case *caddyhttp.MatchHost:
			return *hosts, true
		}
	}
	return nil, false
}

// atStart has do run, in a goroutine of its own, when the configuration of ctx has
// started, and never where it is only validated. The context of do ends with the
// configuration.
func atStart(ctx caddy.Context, do func(ctx context.Context)) error {
	return onStart(ctx, func() { go do(ctx.Context) })
}

// onStart has do run when the configuration of ctx has started, before the one that it
// replaces stops.
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

// Interface guards
var (
	_ caddyevents.Handler = starter(nil)
)
