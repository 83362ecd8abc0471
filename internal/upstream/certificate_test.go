package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
)

// The certificate is known whether the server was trusted or not: of an expired one an
// operator has to see when it expired.
func TestTheCertificateOfTheServerIsKnown(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	pin, err := tlspin.Parse("sha1=0000000000000000000000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"trusted":     {RootCAs: trusted},
		"not trusted": {RootCAs: x509.NewCertPool()},
		"not pinned":  {InsecureSkipVerify: true, VerifyConnection: tlspin.Verify([]tlspin.Fingerprint{pin})}, //nolint:gosec // refused
	} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: config}
			defer transport.CloseIdleConnections()
			get := func() (*http.Response, error) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				return transport.RoundTrip(req)
			}
			has := func(what string, h *health) {
				t.Helper()
				if found := h.certificate.Load(); found == nil || !found.Equal(server.Certificate()) {
					t.Errorf("%s: the certificate is not known", what)
				}
			}
			login, request := new(health), new(health)
			res, err := observing{transport, login}.RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)))
			if err == nil {
				_ = res.Body.Close()
			}
			has("login", login)
			if res, err = get(); err == nil {
				_ = res.Body.Close()
				(&Source{health: request}).Reached(res.TLS, time.Now())
			} else {
				(&Source{health: request}).Missed(t.Context(), err, time.Now())
			}
			if (err == nil) != (name == "trusted") {
				t.Errorf("the connection ended with %v", err)
			}
			has("request", request)
			request.missed(context.Background(), errors.New("no route to host"), time.Now())
			has("after a failure", request)
		})
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
