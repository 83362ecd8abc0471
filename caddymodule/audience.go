// What tokens of ours are good for: a product, its upstreams, and the ports that the
// site listens on.

package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// audience is what a token must have been issued for to be good here.
func (h *Handler) audience(r *http.Request) string {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return h.product.Name + " " + h.Audience
	}
	if known := h.listener.Load(); known != nil && known.server == server {
		return known.audience
	}
	next := &listener{server: server, audience: h.product.Name + " " + h.Audience + " " + ports(server.Listen)}
	h.listener.Store(next)
	return next.audience
}

// listener is the server that a handler belongs to, with what its tokens are good
// for.
type listener struct {
	server   *caddyhttp.Server
	audience string
}

// ports are those of addresses, and the paths of unix sockets. The hosts do not
// count: each replica has addresses of its own.
func ports(addresses []string) string {
	var all []string
	for _, text := range addresses {
		if a, err := caddy.ParseNetworkAddress(text); err == nil && a.StartPort > 0 {
			text = fmt.Sprintf("%d-%d", a.StartPort, a.EndPort)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}
