// Certificate pins of the transport.

package caddymodule

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
)

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
		return errors.New("veeam_auth: tls_pin needs an upstream with TLS; write https:// before its address")
	case t.pins != nil && slices.Contains(t.Versions, "3"):
		return errors.New("veeam_auth: tls_pin does not work over HTTP/3; remove 3 from the versions of the transport")
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
