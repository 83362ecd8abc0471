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
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpproxy"

	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
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
	if said := t.proxySaid(proxied); said != "" {
		t.logger.Info(said, zap.String("product", t.product.Name))
	}
	t.hasProxy = proxied
}

// proxySaid says for people by which proxy servers are reached; empty if the
// question does not arise. Proxies may have a password in their URL.
func (t *Transport) proxySaid(proxied bool) string {
	env := httpproxy.FromEnvironment()
	set := env.HTTPSProxy != "" || env.HTTPProxy != "" || os.Getenv("ALL_PROXY") != ""
	switch {
	case proxied:
		return "requests and logins go through the configured proxy (network_proxy)"
	case t.ProxyFromEnvironment && env.HTTPSProxy == "":
		return "proxy_from_environment is set, but HTTPS_PROXY is not: servers are dialed directly"
	case t.ProxyFromEnvironment:
		return "requests and logins go through the proxy of the environment (HTTPS_PROXY), except to the hosts in NO_PROXY"
	case set:
		return "the proxy variables of the environment are ignored: servers are dialed directly; proxy_from_environment uses them"
	}
	return ""
}

// host is the name in the header Host of what is sent for a request: never the one
// that a client has named, because a login has none of it.
func (t *Transport) host(req *http.Request) string {
	if t.UpstreamHost != "" {
		return t.UpstreamHost
	}
	dial, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok {
		return req.Host // a health check
	}
	return authority(dial.Network, dial.Address, t.scheme(req))
}

// authority is how the URL of a server names it: without the port that the scheme
// implies.
func authority(network, address, scheme string) string {
	switch {
	case isUnix(network):
		return "localhost"
	case scheme == "https":
		return strings.TrimSuffix(address, ":443")
	}
	return strings.TrimSuffix(address, ":80")
}

func isUnix(network string) bool { return strings.HasPrefix(network, "unix") }

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

// checkBasePath refuses what is no path in its one spelling.
func checkBasePath(base string) error {
	if base == "" {
		return nil
	}
	plain := strings.Trim(strings.ToLower(base), "abcdefghijklmnopqrstuvwxyz0123456789-._~/") == "" && !strings.ContainsAny(base, "%?#")
	if cleaned, ok := operation.Clean(base); !ok || !plain || cleaned != base || strings.HasSuffix(base, "/") {
		return fmt.Errorf("base_path %s: write a path such as /veeam: letters, digits and -._~ only, no slash at the end", base)
	}
	return nil
}

// baseURL is where the API of a request's upstream begins.
func (t *Transport) baseURL(req *http.Request) string {
	at, scheme := dialed(req), t.scheme(req)
	return scheme + "://" + authority(at.Network, at.Address, scheme) + t.BasePath
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
