// TLSCause: why a TLS handshake failed, and what to do about it.

package veeam

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
)

// TLSCause is the reason why there is no trusted connection, as a word for scripts.
type TLSCause string

// The causes.
const (
	TLSIssuer     TLSCause = "untrusted_issuer"
	TLSName       TLSCause = "name_mismatch"
	TLSValidity   TLSCause = "expired"
	TLSCipher     TLSCause = "no_common_cipher"
	TLSVersion    TLSCause = "old_version"
	TLSServerName TLSCause = "server_name_wanted"
	TLSSerial     TLSCause = "negative_serial"
	TLSPlain      TLSCause = "plain_http"
	TLSClientCert TLSCause = "client_certificate_wanted"
	TLSReset      TLSCause = "closed_in_handshake"
	TLSOther      TLSCause = "other"
)

// Hint returns advice for the operator. Names of options are those of the Caddyfile.
func (c TLSCause) Hint() string { return tlsHints[c] }

var tlsHints = map[TLSCause]string{
	TLSIssuer: "the certificate is signed by an authority that is not trusted here: compare its fingerprint and write tls_pin, " +
		"or trust the authority with tls_trust_pool in transport http",
	TLSName: "the certificate is for other names than that of the upstream: write one of them as the upstream, or tls_server_name in transport http; " +
		"tls_pin accepts the certificate whatever its names",
	TLSValidity: "the certificate has expired or is not valid yet: renew it at the server, and check the clocks of both machines; tls_pin accepts it anyway",
	TLSCipher: "the server accepts none of the offered cipher suites: an old server may require GODEBUG=tlsrsakex=1 (RSA key exchange) or GODEBUG=tls3des=1 " +
		"in the environment of Caddy; some servers refuse like this where tls_server_name or tls_client_auth is missing",
	TLSVersion:    "the server does not support TLS 1.2: enable TLS 1.2 or 1.3 at the server; older versions are not supported",
	TLSServerName: "the server requires a known server name: use that name as the upstream, or write tls_server_name in transport http",
	TLSSerial: "the certificate has a negative serial number: issue another one, or set GODEBUG=x509negativeserial=1 in the environment of Caddy; " +
		"tls_pin does not help",
	TLSPlain: "the server does not speak TLS at this port: check the port",
	TLSClientCert: "the server requires a client certificate, or refuses the one it got: write tls_client_auth with the files of a certificate and its key " +
		"in transport http",
	TLSReset: "the connection was closed during the TLS handshake: a wrong port, a firewall, or a server that requires tls_server_name",
	TLSOther: "see the tls options of transport http",
}

// tlsTexts are the causes of errors that have no type of their own.
var tlsTexts = []struct {
	text  string
	cause TLSCause
}{
	{"x509: negative serial number", TLSSerial},
	{"server gave HTTP response to HTTPS client", TLSPlain},
	{"first record does not look like a TLS handshake", TLSPlain},
	{"remote error: tls: unrecognized name", TLSServerName},
	{"remote error: tls: internal error", TLSServerName}, // of servers that have no certificate for no name
	{"remote error: tls: certificate required", TLSClientCert},
	{"remote error: tls: bad certificate", TLSClientCert},
	{"remote error: tls: unknown certificate", TLSClientCert},
	{"remote error: tls: protocol version not supported", TLSVersion},
	{"tls: server selected unsupported protocol version", TLSVersion},
	{"remote error: tls: handshake failure", TLSCipher},
	{"remote error: tls: insufficient security level", TLSCipher},
	{"tls: server chose an unconfigured cipher suite", TLSCipher},
}

// ClassifyTLS returns the cause of a connection error, empty if it is not about TLS.
// inHandshake reports whether the TLS handshake had begun and not ended.
func ClassifyTLS(err error, inHandshake bool) TLSCause {
	var (
		record  tls.RecordHeaderError
		issuer  x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &issuer):
		return TLSIssuer
	case errors.As(err, &name):
		return TLSName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return TLSValidity
	case errors.As(err, &record):
		return TLSPlain
	}
	text := err.Error()
	for _, known := range tlsTexts {
		if strings.Contains(text, known.text) {
			return known.cause
		}
	}
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.HasSuffix(text, "EOF") || strings.Contains(text, "connection reset by peer")
	switch {
	case inHandshake && ended:
		return TLSReset
	case tlsFault(err):
		return TLSOther
	}
	return ""
}

// handshake records whether a TLS handshake is running.
type handshake struct{ begun, ended atomic.Bool }

func (h *handshake) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { h.begun.Store(true) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				h.ended.Store(true)
			}
		},
	})
}

func (h *handshake) failed() bool { return h.begun.Load() && !h.ended.Load() }
