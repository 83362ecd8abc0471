// The one way to a server: by which proxy, under which name and path, and with which
// certificate. Logins, requests and commands go the same.

package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// proxied reports whether the configuration itself names a proxy.
func (t *Transport) proxied() bool {
	if t.HTTPTransport == nil {
		return false
	}
	var proxy struct {
		From string `json:"from"`
	}
	_ = json.Unmarshal(t.NetworkProxyRaw, &proxy)
	return t.ForwardProxyURL != "" || len(t.NetworkProxyRaw) > 0 && proxy.From != "none"
}

// way takes the proxy of the environment away unless it is wanted, and logs what is
// so. It is called when the inner transport is provisioned.
func (t *Transport) way(proxied bool) {
	if !proxied && !t.ProxyFromEnvironment {
		t.HTTPTransport.Transport.Proxy = nil
	}
	if said := upstream.Proxy(proxied, t.ProxyFromEnvironment); said != "" {
		t.logger.Info(said, zap.String("product", t.product.Name))
	}
	t.hasProxy = proxied
}

// host is the name in the header Host of what is sent for a request: never the one
// that a client has named, because a login has none of it.
func (t *Transport) host(req *http.Request) string {
	if _, ok := reverseproxy.GetDialInfo(req.Context()); !ok && t.UpstreamHost == "" {
		return req.Host // a health check
	}
	return t.spoken(req).HostOf(dialed(req))
}

// anonymousVersion is the version for a request that needs no session: as
// configured, or as logins have found it.
func (t *Transport) anonymousVersion(req *http.Request, state *requestState) string {
	if t.APIVersion != "" || state == nil || t.product.Version.Known == nil {
		return t.APIVersion
	}
	return t.server.FoundVersion(t.place(req).Origin)
}

// loginTransport carries the requests of logins. Each has variables of its own:
// those of a request of a client, its address among them, say nothing about a
// session that all share, and the transport writes into them.
type loginTransport struct{ *reverseproxy.HTTPTransport }

// proxyProtocolVar is the variable in which reverse_proxy keeps whose address a
// connection is for. It has no exported name.
const proxyProtocolVar = "reverse_proxy.proxy_protocol_info"

// RoundTrip implements http.RoundTripper.
func (t loginTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	vars := map[string]any{}
	if t.ProxyProtocolEnabled() {
		vars[proxyProtocolVar] = reverseproxy.ProxyProtocolInfo{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)}
	}
	return t.HTTPTransport.RoundTrip(req.WithContext(context.WithValue(req.Context(), caddyhttp.VarsCtxKey, vars)))
}

// readPins reads the configured fingerprints.
func (t *Transport) readPins() error {
	t.pins = nil
	for _, text := range t.TLSPins {
		p, err := tlspin.Parse(text)
		if err != nil {
			return fmt.Errorf("veeam_auth: tls_pin: %w", err)
		}
		t.pins = append(t.pins, p)
	}
	switch {
	case t.pins != nil && t.TLS == nil:
		return errors.New("veeam_auth: tls_pin requires an upstream with TLS: use https:// for the upstream")
	case t.pins != nil && slices.Contains(t.Versions, "3"):
		return errors.New("veeam_auth: tls_pin is not allowed with HTTP/3: remove 3 from the versions of the transport")
	}
	return nil
}

// pin makes the transport's TLS accept pinned certificates only.
func (t *Transport) pin() {
	if t.pins == nil {
		return
	}
	inner, pins := t.HTTPTransport.Transport, t.pins
	if inner.TLSClientConfig == nil {
		inner.TLSClientConfig = new(tls.Config)
	}
	// The pin takes the place of the chain. It is checked within the handshake,
	// also of a resumed session, and so before anything is sent.
	inner.TLSClientConfig.InsecureSkipVerify = true // VerifyConnection verifies
	inner.TLSClientConfig.VerifyConnection = tlspin.Verify(pins)
}

// Interface guard
var _ http.RoundTripper = loginTransport{}
