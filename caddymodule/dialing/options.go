// What the options of Caddy's transport say about the way: its proxy and its certificates.

package dialing

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
)

// Proxied reports whether the configuration itself names a proxy.
func Proxied(t *reverseproxy.HTTPTransport) bool {
	if t == nil {
		return false
	}
	var proxy struct {
		From string `json:"from"`
	}
	_ = json.Unmarshal(t.NetworkProxyRaw, &proxy)
	return t.ForwardProxyURL != "" || len(t.NetworkProxyRaw) > 0 && proxy.From != "none"
}

// Pins parses the fingerprints that are configured for a transport, and looks at its files of
// authorities.
func Pins(texts []string, t *reverseproxy.HTTPTransport) (pins []tlspin.Fingerprint, err error) {
	for _, text := range texts {
		p, err := tlspin.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("veeam_auth: tls_pin: %w", err)
		}
		pins = append(pins, p)
	}
	switch {
	case pins != nil && t.TLS == nil:
		return nil, errors.New("veeam_auth: tls_pin requires an upstream with TLS: use https:// for the upstream")
	case pins != nil && slices.Contains(t.Versions, "3"):
		return nil, errors.New("veeam_auth: tls_pin is not allowed with HTTP/3: remove 3 from the versions of the transport")
	case t.TLS != nil:
		err = tlspin.CheckAuthorities(t.TLS.CARaw)
	}
	return pins, err
}

// Pin makes a transport accept pinned certificates only, if there are pins.
func Pin(inner *http.Transport, pins []tlspin.Fingerprint) {
	if pins == nil {
		return
	}
	if inner.TLSClientConfig == nil {
		inner.TLSClientConfig = new(tls.Config)
	}
	// The pin replaces the verification of the chain. It is checked within the
	// handshake, also of a resumed session, before anything is sent.
	inner.TLSClientConfig.InsecureSkipVerify = true // VerifyConnection verifies
	inner.TLSClientConfig.VerifyConnection = tlspin.Verify(pins)
}
