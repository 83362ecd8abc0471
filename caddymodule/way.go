// How requests, logins and commands reach a server: proxy, name, path and certificate.

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
	return t.spoken(req).HostOf(dialed(req))
}

// anonymousVersion returns the API version for a request that requires no session: the
// configured one, or the one that logins found.
func (t *Transport) anonymousVersion(req *http.Request, state *requestState) string {
	if t.APIVersion != "" || state == nil || t.product.Version.Known == nil {
		return t.APIVersion
	}
	return t.server.FoundVersion(t.place(req).Origin)
}

// loginTransport sends the requests of logins with their own variables. Those of a
// client's request, including its address, do not apply to a session that all callers
// share, and the transport writes to them.
type loginTransport struct{ *reverseproxy.HTTPTransport }

// proxyProtocolVar is the variable in which reverse_proxy stores the client address of
// a connection. It is not exported.
const proxyProtocolVar = "reverse_proxy.proxy_protocol_info"

// RoundTrip implements http.RoundTripper.
func (t loginTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	vars := map[string]any{}
	if t.ProxyProtocolEnabled() {
		vars[proxyProtocolVar] = reverseproxy.ProxyProtocolInfo{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)}
	}
	return t.HTTPTransport.RoundTrip(req.WithContext(context.WithValue(req.Context(), caddyhttp.VarsCtxKey, vars)))
}

// readPins parses the configured fingerprints, and looks at the files of authorities.
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
	case t.TLS != nil:
		return tlspin.CheckAuthorities(t.TLS.CARaw)
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
	// The pin replaces the verification of the chain. It is checked within the
	// handshake, also of a resumed session, before anything is sent.
	inner.TLSClientConfig.InsecureSkipVerify = true // VerifyConnection verifies
	inner.TLSClientConfig.VerifyConnection = tlspin.Verify(pins)
}

// Interface guard
var _ http.RoundTripper = loginTransport{}
