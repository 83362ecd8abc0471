package jwtcaller

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// expired is a server whose certificate has expired, and its certificate in PEM.
func expired(t *testing.T) (url string, authority []byte) {
	t.Helper()
	key := testKeys().p256
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestReadingKeysOnceSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	p := testKeys()
	server := serve(t, document(t, jwk(t, "one", p.rsa, nil), jwk(t, "weak", p.weakRSA, nil), jwk(t, "two", p.p256, nil)))
	read, err := server.config(t).ReadKeys(t.Context())
	if err != nil || !slices.Equal(read.Keys, []string{"one", "two"}) || len(read.LeftOut) != 1 || !strings.Contains(read.LeftOut[0].Error(), "1024 bits") {
		t.Fatalf("%+v %v", read, err)
	}
	if server.requests.Load() != 1 {
		t.Errorf("%d requests", server.requests.Load())
	}
	url, authority := expired(t)
	closed := serve(t, nil)
	closed.Close()
	for name, tt := range map[string]struct {
		change func(*Config)
		reason veeam.Reason
		says   string
	}{
		"an expired certificate": {func(c *Config) { c.JWKSURL, c.JWKSCA = url, written(t, authority) }, veeam.ReasonTLS, "expired"},
		"nobody answers":         {func(c *Config) { c.JWKSURL = closed.URL }, veeam.ReasonUnreachable, "refused"},
		"no usable key": {func(c *Config) {
			c.JWKSURL, c.JWKSCA, c.JWKSFile = "", "", written(t, document(t, jwk(t, "weak", p.weakRSA, nil)))
		}, veeam.ReasonUnexpectedAnswer, "no usable key"},
		"no file":          {func(c *Config) { c.JWKSURL, c.JWKSCA, c.JWKSFile = "", "", "/none/keys" }, veeam.ReasonSecretUnreadable, "/none/keys"},
		"another document": {func(*Config) { server.keys([]byte("<html>")) }, veeam.ReasonUnexpectedAnswer, "cannot be read"},
	} {
		c := server.config(t)
		tt.change(c)
		if read, err := c.ReadKeys(t.Context()); read != nil || err == nil || veeam.ReasonOf(err) != tt.reason || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v %v", name, veeam.ReasonOf(err), err)
		}
	}
	if read, err := (&Config{}).ReadKeys(t.Context()); read != nil || err == nil {
		t.Error("an invalid configuration")
	}
}
