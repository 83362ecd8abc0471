// Information from Caddy about the connection of a request, host names without a site,
// and the start of a configuration.

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

// relayed reports whether another proxy relayed the request. Behind a proxy on this
// machine, every caller has a loopback address.
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

// watchConnections makes a server put its connections into the context of their
// requests.
func watchConnections(ctx context.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterConnContext(process.WithConnection)
}

// overUnix reports whether a request has come over a unix socket.
func overUnix(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && strings.HasPrefix(local.Network(), "unix")
}

// peerOf returns the address of the caller, or that it is at a unix socket of this machine,
// as far as the caller cannot choose it: of a request that a proxy has relayed only if Caddy
// trusts the proxy and reads its headers strictly, otherwise it is empty.
func peerOf(r *http.Request) (address string, unix bool) {
	if !relayed(r) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		return host, overUnix(r)
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	if server != nil && server.TrustedProxiesStrict > 0 && trusted {
		address, _ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	}
	return address, false
}

// sourceOf returns the source of a request: a user at a unix socket, or an address.
// Behind a proxy that Caddy trusts, it is the address in the proxy's headers.
func sourceOf(r *http.Request) string {
	if found, ok := process.PeerOfRequest(r.Context()); ok {
		return "uid " + strconv.Itoa(found.UID)
	}
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && address != "" {
		return ratelimit.Source(address)
	}
	return ratelimit.Source(r.RemoteAddr)
}

// warnUnserved logs the names for which Caddy would answer 200 with an empty body,
// which a client takes for success, and the protocols that clients may not support.
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

// laterProtocols returns the protocols of a server besides HTTP/1.
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

// unservedNames returns the names of this machine that lead to a listener of the server
// but to none of its routes. A server with TLS has none, because it has no certificate
// for other names.
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

// hostsOf returns the hosts that a set of matchers accepts, and false if it accepts
// every host.
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
