// How requests, logins and commands reach a server: name, path, version and proxy.

package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// spoken returns how requests to the server of a request are sent.
func (t *Transport) spoken(req *http.Request) upstream.Way {
	t.SetScheme(req)
	return upstream.Way{Scheme: req.URL.Scheme, BasePath: t.BasePath, Host: t.UpstreamHost}
}

// place returns the place at which accounts log in for a request.
func (t *Transport) place(req *http.Request) upstream.Place {
	return t.spoken(req).Place(dialing.Address(req))
}

// upstreamOf returns the place at which a user of passthrough logs in for a request.
func (t *Transport) upstreamOf(req *http.Request, state *requestState) passthrough.Upstream {
	return passthrough.Upstream{
		Server: t.server, Address: dialing.Address(req), Place: func() upstream.Place { return t.place(req) }, Request: state.request(),
	}
}

// way removes the proxy of the environment unless it is configured, and logs which one
// is used. It is called when the inner transport is provisioned.
func (t *Transport) way(proxied bool) {
	if !proxied && !t.ProxyFromEnvironment {
		t.HTTPTransport.Transport.Proxy = nil
	}
	if said := upstream.Proxy(proxied, t.ProxyFromEnvironment); said != "" {
		t.logger.Info(said, zap.String("product", t.product.Name))
	}
	t.hasProxy = proxied
}

// host returns the Host header for requests to the server: never that of the client,
// because a login has none.
func (t *Transport) host(req *http.Request) string {
	if _, ok := reverseproxy.GetDialInfo(req.Context()); !ok && t.UpstreamHost == "" {
		return req.Host // a health check
	}
	return t.spoken(req).HostOf(dialing.Address(req))
}

// anonymousVersion returns the API version for a request that requires no session: the
// configured one, or the one that logins found.
func (t *Transport) anonymousVersion(req *http.Request, state *requestState) string {
	if t.APIVersion != "" || state == nil || t.product.Version.Known == nil {
		return t.APIVersion
	}
	return t.server.FoundVersion(t.place(req).Origin)
}
