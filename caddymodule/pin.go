// Certificate pins: a server is who its fingerprint says, whoever signed it.

package caddymodule

import (
	"bytes"
	"context"
	"crypto/sha1" // the fingerprint that Veeam's consoles show
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// fingerprint is the SHA-1 or SHA-256 of a certificate.
type fingerprint []byte

// parsePin reads a fingerprint as people write it.
func parsePin(text string) (fingerprint, error) {
	digits := strings.Map(func(r rune) rune {
		switch r {
		case ':', ' ', '-', '\u200e': // the last is what Windows puts before it
			return -1
		}
		return r
	}, text)
	for _, prefix := range []string{"sha1=", "sha256=", "sha1/", "sha256/"} {
		if len(digits) > len(prefix) && strings.EqualFold(digits[:len(prefix)], prefix) {
			digits = digits[len(prefix):]
		}
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%q is not a fingerprint: write the SHA-1 or SHA-256 of the certificate in hex, as `caddy veeam-auth pin` prints it", text)
	}
	if len(raw) != sha1.Size && len(raw) != sha256.Size {
		return nil, fmt.Errorf("%q has %d hex digits; a SHA-1 fingerprint has %d, a SHA-256 one %d", text, len(digits), 2*sha1.Size, 2*sha256.Size)
	}
	return raw, nil
}

func (f fingerprint) matches(cert *x509.Certificate) bool {
	if len(f) == sha1.Size {
		sum := sha1.Sum(cert.Raw)
		return bytes.Equal(f, sum[:])
	}
	sum := sha256.Sum256(cert.Raw)
	return bytes.Equal(f, sum[:])
}

// String writes the fingerprint as Veeam does: in capitals, without colons.
func (f fingerprint) String() string { return strings.ToUpper(hex.EncodeToString(f)) }

func sha1Of(cert *x509.Certificate) fingerprint {
	sum := sha1.Sum(cert.Raw)
	return sum[:]
}

func sha256Of(cert *x509.Certificate) fingerprint {
	sum := sha256.Sum256(cert.Raw)
	return sum[:]
}

// pinError says that a server has another certificate than the pinned ones.
type pinError struct {
	cert *x509.Certificate
	pins []fingerprint
}

func (e *pinError) Error() string {
	pins := make([]string, len(e.pins))
	for i, p := range e.pins {
		pins[i] = p.String()
	}
	return fmt.Sprintf("tls: tls_pin: the server's certificate has the fingerprint %s (SHA-1 %s), pinned is %s",
		sha256Of(e.cert), sha1Of(e.cert), strings.Join(pins, " or "))
}

// readPins reads the configured fingerprints.
func (t *Transport) readPins() error {
	t.pins = nil
	for _, text := range t.TLSPins {
		p, err := parsePin(text)
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
	inner.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
		cert := state.PeerCertificates[0]
		for _, p := range pins {
			if p.matches(cert) {
				return nil
			}
		}
		return &pinError{cert: cert, pins: pins}
	}
}

// pinAddress reads the address of a server, host:port or a URL. Without a port it
// is that of https.
func pinAddress(text string) (string, error) {
	address := text
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		address = u.Host
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "443"
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 || host == "" || strings.ContainsAny(host, "/@") {
		return "", fmt.Errorf("%q is no address of a server: write host:port, such as vbr01.lab.local:9419", text)
	}
	return net.JoinHostPort(host, port), nil
}

// errSeen ends a handshake of which only the certificate was wanted.
var errSeen = errors.New("the certificate was seen")

// shown is what a server shows in a handshake that is broken off before anything is
// sent.
type shown struct {
	certificate *x509.Certificate
	version     uint16
	suite       uint16
}

// show fetches what a server (host:port) shows, without trusting it. It is dialed
// as logins would be by base, with every version and cipher suite that there is:
// what the handshake of a login needs beside is said by missing.
func show(ctx context.Context, base *http.Transport, address, serverName string) (*shown, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if serverName == "" && base.TLSClientConfig != nil && !strings.Contains(base.TLSClientConfig.ServerName, "{") {
		serverName = base.TLSClientConfig.ServerName
	}
	if serverName == "" {
		serverName = host
	}
	var suites []uint16
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		suites = append(suites, suite.ID)
	}
	seen := new(shown)
	transport := base.Clone()
	transport.DisableKeepAlives = true
	transport.DialTLSContext = nil
	transport.TLSClientConfig = &tls.Config{ // nothing is sent: the certificate is all that is wanted
		InsecureSkipVerify: true, //nolint:gosec // nothing is sent
		ServerName:         serverName,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       suites,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) > 0 {
				seen.certificate, seen.version, seen.suite = state.PeerCertificates[0], state.Version, state.CipherSuite
			}
			return errSeen
		},
	}
	if base.TLSClientConfig != nil {
		transport.TLSClientConfig.Certificates = base.TLSClientConfig.Certificates
		transport.TLSClientConfig.GetClientCertificate = base.TLSClientConfig.GetClientCertificate
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &veeam.Client{Product: new(veeam.Product), Transport: transport, BaseURL: "https://" + address}
	err = client.Reach(ctx)
	var failed *veeam.Error
	switch {
	case seen.certificate != nil:
		return seen, nil
	case errors.Is(err, errSeen):
		return nil, errors.New("the server showed no certificate")
	case errors.As(err, &failed) && failed.Kind == veeam.KindTimeout:
		return nil, errors.New("no answer in time")
	case errors.As(err, &failed) && failed.Kind == veeam.KindTLS:
		return nil, fmt.Errorf("%w; %s", failed.Err, failed.Hint)
	case errors.As(err, &failed) && failed.Err != nil:
		return nil, failed.Err
	}
	return nil, err
}

// missing says what a login would lack although the certificate could be seen;
// empty if nothing.
func (s *shown) missing() string {
	switch {
	case s.version < tls.VersionTLS12:
		return veeam.TLSVersion.Hint()
	case s.version == tls.VersionTLS12 && slices.ContainsFunc(tls.InsecureCipherSuites(), func(c *tls.CipherSuite) bool { return c.ID == s.suite }):
		name := tls.CipherSuiteName(s.suite)
		switch {
		case strings.Contains(name, "3DES"):
			return "it chooses " + name + " where everything is offered: logins need GODEBUG=tlsrsakex=1,tls3des=1 in the environment of Caddy"
		case strings.HasPrefix(name, "TLS_RSA_"):
			return "it chooses " + name + " where everything is offered: logins need GODEBUG=tlsrsakex=1 in the environment of Caddy"
		}
		return "it chooses " + name + ", which logins do not offer: enable a newer cipher suite at the server"
	}
	return ""
}

// subjectName is the subject of a certificate, for a terminal. Who made the
// certificate need not be a friend.
func subjectName(cert *x509.Certificate) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, cert.Subject.String())
}
