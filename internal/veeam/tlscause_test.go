// TLS handshakes that fail at real servers, each for a cause of its own.

package veeam

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

// certificateFor makes a certificate that signs itself.
func certificateFor(t *testing.T, legacyKey bool, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x7f), Subject: pkix.Name{CommonName: "vbr01"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
	}
	if change != nil {
		change(template)
	}
	if legacyKey {
		return *certs.Sign(nil, template, testRSA())
	}
	return *certs.Issue(nil, template)
}

var quiet = log.New(io.Discard, "", 0)

func TestFailedHandshakesAreToldApart(t *testing.T) {
	good := certificateFor(t, false, nil)
	for _, tc := range []struct {
		want    TLSCause
		server  *tls.Config
		trusted bool
	}{
		{TLSIssuer, &tls.Config{Certificates: []tls.Certificate{good}}, false},
		{TLSName, &tls.Config{Certificates: []tls.Certificate{certificateFor(t, false, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"vbr01"} })}}, true},
		{TLSValidity, &tls.Config{Certificates: []tls.Certificate{certificateFor(t, false, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}}, true},
		{TLSValidity, &tls.Config{Certificates: []tls.Certificate{certificateFor(t, false, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })}}, true},
		{TLSCipher, &tls.Config{Certificates: []tls.Certificate{certificateFor(t, true, nil)}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}, true},
		{TLSVersion, &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, true},
		{TLSServerName, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}, true}, //nolint:nilnil // no certificate
		{TLSServerName, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no name") }}, true},
		{TLSClientCert, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, true},
		// With TLS 1.2 servers say no more than this: the hint names both.
		{TLSCipher, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, true},
	} {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", tc.server)
		if err != nil {
			// A server that chooses by name has no certificate before a client asks.
			t.Fatal(err)
		}
		go func() {
			_ = (&http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute, ErrorLog: quiet}).Serve(listener)
		}()
		roots := x509.NewCertPool()
		if tc.trusted && len(tc.server.Certificates) > 0 {
			cert, err := x509.ParseCertificate(tc.server.Certificates[0].Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			roots.AddCert(cert)
		}
		requireCause(t, "https://"+listener.Addr().String(), roots, tc.want)
		listener.Close()
	}
}

func requireCause(t *testing.T, url string, roots *x509.CertPool, want TLSCause) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	err := (&Client{Product: products[0], Transport: transport, BaseURL: url}).Reach(t.Context())
	failed, ok := errors.AsType[*Error](err)
	if !ok || failed.Kind != KindTLS || failed.TLS != want || failed.Hint != want.Hint() || failed.Hint == "" {
		t.Errorf("want %s, got %+v", want, err)
	}
	if ReasonOf(err) != ReasonTLS {
		t.Errorf("%s: reason %s", want, ReasonOf(err))
	}
}

func TestWhatIsNoTLSServerIsTold(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	requireCause(t, strings.Replace(plain.URL, "http:", "https:", 1), nil, TLSPlain)

	// A negative serial number cannot be made, but it can be written over a good one.
	negative := certificateFor(t, false, nil)
	negative.Certificate[0] = bytes.Replace(negative.Certificate[0], []byte{2, 1, 0x7f}, []byte{2, 1, 0xff}, 1)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = quiet
	listener := tls.NewListener(server.Listener, &tls.Config{Certificates: []tls.Certificate{negative}})
	server.Listener = listener
	server.Start()
	defer server.Close()
	requireCause(t, "https://"+listener.Addr().String(), nil, TLSSerial)

	for _, reset := range []bool{false, true} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 4096)) // what a client begins with
				if reset {
					_ = conn.(*net.TCPConn).SetLinger(0)
				}
				_ = conn.Close()
			}
		}()
		requireCause(t, "https://"+listener.Addr().String(), nil, TLSReset)
		listener.Close()
	}
}
