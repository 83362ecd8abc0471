// Package tlspin verifies servers by the fingerprints of their certificates, regardless
// of the issuer.
package tlspin

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

// Fingerprint is the SHA-1 or SHA-256 hash of a certificate, 20 or 32 bytes.
type Fingerprint []byte

// Parse reads a fingerprint in hex: with colons, dashes or blanks, in any case, with or
// without the name of the hash before it. The error says what is wrong.
func Parse(text string) (Fingerprint, error) {
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

// Matches reports whether the fingerprint is that of cert.
func (f Fingerprint) Matches(cert *x509.Certificate) bool {
	if len(f) == sha1.Size {
		sum := sha1.Sum(cert.Raw)
		return bytes.Equal(f, sum[:])
	}
	sum := sha256.Sum256(cert.Raw)
	return bytes.Equal(f, sum[:])
}

// String returns the fingerprint as Veeam shows it: hex in upper case, without colons.
func (f Fingerprint) String() string { return strings.ToUpper(hex.EncodeToString(f)) }

// SHA1 returns the SHA-1 fingerprint, which Veeam's consoles show.
func SHA1(cert *x509.Certificate) Fingerprint {
	sum := sha1.Sum(cert.Raw)
	return sum[:]
}

// SHA256 returns the SHA-256 fingerprint.
func SHA256(cert *x509.Certificate) Fingerprint {
	sum := sha256.Sum256(cert.Raw)
	return sum[:]
}

// MismatchError says that the server's certificate has none of the pinned fingerprints.
type MismatchError struct {
	cert *x509.Certificate
	pins []Fingerprint
}

func (e *MismatchError) Error() string {
	pins := make([]string, len(e.pins))
	for i, p := range e.pins {
		pins[i] = p.String()
	}
	return fmt.Sprintf("tls: tls_pin: the server's certificate has the fingerprint %s (SHA-1 %s), pinned is %s",
		SHA256(e.cert), SHA1(e.cert), strings.Join(pins, " or "))
}

// Presented returns the SHA-256 fingerprint of the certificate of the server.
func (e *MismatchError) Presented() Fingerprint { return SHA256(e.cert) }

// Reason implements veeam.Reasoner.
func (*MismatchError) Reason() veeam.Reason { return veeam.ReasonPin }

// Verify returns a function for tls.Config.VerifyConnection. It accepts a certificate
// with one of the fingerprints, regardless of its issuer, and otherwise returns a
// *MismatchError. It replaces the verification of the chain, so InsecureSkipVerify must
// be set.
func Verify(pins []Fingerprint) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		cert := state.PeerCertificates[0]
		for _, p := range pins {
			if p.Matches(cert) {
				return nil
			}
		}
		return &MismatchError{cert: cert, pins: pins}
	}
}

// Leaf returns the certificate that a server has presented: in a connection, or in a
// handshake that ended with err because the certificate was not trusted. It is nil if
// neither tells.
func Leaf(state *tls.ConnectionState, err error) *x509.Certificate {
	if state != nil && len(state.PeerCertificates) > 0 {
		return state.PeerCertificates[0]
	}
	if err == nil {
		return nil
	}
	if mismatch, ok := errors.AsType[*MismatchError](err); ok {
		return mismatch.cert
	}
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(failed.UnverifiedCertificates) > 0 {
		return failed.UnverifiedCertificates[0]
	}
	return nil
}

// Address returns the host:port of a server from host:port or a URL. The default port
// is 443.
func Address(text string) (string, error) {
	address := text
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		address = u.Host
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "443"
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 || host == "" || strings.ContainsAny(host, "/@") {
		return "", fmt.Errorf("%q is not a server address: write host:port, such as vbr01.lab.local:9419", text)
	}
	return net.JoinHostPort(host, port), nil
}

// errSeen ends a handshake after the certificate was received.
var errSeen = errors.New("the certificate was seen")

// Handshake is what a server has sent in a handshake that was ended before any data was
// sent.
type Handshake struct {
	Certificate *x509.Certificate
	Version     uint16
	CipherSuite uint16
}

// Dial returns what a server at host:port sends in a handshake, without trusting it. It
// dials as logins with base do, but accepts every TLS version and cipher suite. Missing
// says whether a login would fail for that reason.
func Dial(ctx context.Context, base *http.Transport, address, serverName string) (*Handshake, error) {
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
	seen := new(Handshake)
	transport := base.Clone()
	transport.DisableKeepAlives = true
	transport.DialTLSContext = nil
	transport.TLSClientConfig = &tls.Config{ // nothing is sent: only the certificate is needed
		InsecureSkipVerify: true, //nolint:gosec // nothing is sent
		ServerName:         serverName,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       suites,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) > 0 {
				seen.Certificate, seen.Version, seen.CipherSuite = state.PeerCertificates[0], state.Version, state.CipherSuite
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
	case seen.Certificate != nil:
		return seen, nil
	case errors.Is(err, errSeen):
		return nil, errors.New("the server sent no certificate")
	case errors.As(err, &failed) && failed.Kind == veeam.KindTimeout:
		return nil, errors.New("no answer in time")
	case errors.As(err, &failed) && failed.Kind == veeam.KindTLS:
		return nil, fmt.Errorf("%w; %s", failed.Err, failed.Hint)
	case errors.As(err, &failed) && failed.Err != nil:
		return nil, failed.Err
	}
	return nil, err
}

// Missing returns what the server lacks for a login although its certificate could be
// read, or "" if nothing.
func (s *Handshake) Missing() string {
	switch {
	case s.Version < tls.VersionTLS12:
		return veeam.TLSVersion.Hint()
	case s.Version == tls.VersionTLS12 && slices.ContainsFunc(tls.InsecureCipherSuites(), func(c *tls.CipherSuite) bool { return c.ID == s.CipherSuite }):
		name := tls.CipherSuiteName(s.CipherSuite)
		switch {
		case strings.Contains(name, "3DES"):
			return "it chooses " + name + " although all cipher suites are offered: logins require GODEBUG=tlsrsakex=1,tls3des=1 in the environment of Caddy"
		case strings.HasPrefix(name, "TLS_RSA_"):
			return "it chooses " + name + " although all cipher suites are offered: logins require GODEBUG=tlsrsakex=1 in the environment of Caddy"
		}
		return "it chooses " + name + ", which logins do not offer: enable a newer cipher suite at the server"
	}
	return ""
}

// Subject returns the subject of a certificate, escaped for a terminal: an attacker may
// have made the certificate.
func Subject(cert *x509.Certificate) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, cert.Subject.String())
}
