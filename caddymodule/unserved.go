// Names of this machine under which a site is reached that no site has.

package caddymodule

import (
	"context"
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// warnUnserved logs under which names Caddy would answer 200 with an empty body,
// which a client takes for success.
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
