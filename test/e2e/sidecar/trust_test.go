// Certificates: whom the sidecar sends a credential to.

package sidecar

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestAServerIsTrustedInTheWayThatIsConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ca := filepath.Join(w.Dir, "ca.pem")
	if err := os.WriteFile(ca, veeamtest.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	colons := func(s *site) string {
		digits := sha256.Sum256(s.Server.Certificate().Raw)
		var parts []string
		for _, d := range digits {
			parts = append(parts, hex.EncodeToString([]byte{d}))
		}
		return strings.Join(parts, ":")
	}
	w.add(vbr) // the SHA-1 as Veeam writes it
	lower := w.add(vspc)
	lower.Trust = "tls_pin " + colons(lower)
	two := w.add(azure)
	two.Trust = "tls_pin " + otherPin + " " + harness.Pin(two.Server)
	w.add(aws).Trust = "transport http {\n\t\t\ttls_trust_pool file " + ca + "\n\t\t}"
	w.add(vbr).Trust = "transport http {\n\t\t\ttls_insecure_skip_verify\n\t\t}"
	plain := w.add(vspc)
	inTheClear := httptest.NewServer(plain.Server)
	t.Cleanup(inTheClear.Close)
	plain.Upstream, plain.Trust = inTheClear.URL, "insecure_http"
	w.start()
	for _, s := range w.sites {
		s.client.ok(t, s.protected)
		s.client.ok(t, s.protected, bearer(s.client.login(t).Access))
		if c := s.Server.Counters(); c.Logins != 1 {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
	for _, warning := range []string{"tls_insecure_skip_verify: credentials are sent", "insecure_http: credentials and tokens are sent"} {
		if n := strings.Count(w.Caddy.Output(), warning); n != 1 {
			t.Errorf("%q is %d times in the log", warning, n)
		}
	}
}

func TestNothingIsSentToAServerThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var witnesses []*witness
	for _, p := range products {
		for _, trust := range []string{"tls_pin " + otherPin, ""} {
			witness := newWitness(t)
			witnesses = append(witnesses, witness)
			s := w.add(p)
			s.Upstream, s.Trust = "https://"+witness.Addr().String(), trust
		}
	}
	w.start()
	for _, s := range w.sites {
		s.client.get(t, s.protected).refusedAs(t, s.product, false, http.StatusBadGateway)
		s.client.attempt(t).refusedAs(t, s.product, true, http.StatusBadGateway)
		if s.anonymous != "" {
			s.client.get(t, s.anonymous).refusedAs(t, s.product, false, http.StatusBadGateway)
		}
	}
	for i, witness := range witnesses {
		if witness.tried.Load() == 0 || witness.completed.Load() != 0 || witness.heard.Load() != 0 {
			t.Errorf("%s: %d connections, %d handshakes, %d bytes", w.sites[i].Name,
				witness.tried.Load(), witness.completed.Load(), witness.heard.Load())
		}
	}
	for i, s := range w.sites {
		if !strings.HasPrefix(s.Trust, "tls_pin") {
			continue
		}
		sum := sha256.Sum256(witnesses[i].cert)
		shown, pinned := strings.ToUpper(hex.EncodeToString(sum[:])), strings.ReplaceAll(otherPin, ":", "")
		if !strings.Contains(w.svclog(), "has the fingerprint "+shown) || !strings.Contains(w.svclog(), "pinned is "+pinned) {
			t.Errorf("%s: the log does not name %s and %s", s.Name, shown, pinned)
		}
	}
}

// witness is a server with a certificate that nobody trusts. It takes down what
// comes through the handshake.
type witness struct {
	net.Listener
	cert                    []byte
	tried, completed, heard atomic.Int64
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	own := certs.Issue(nil, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{Listener: l, cert: own.Leaf.Raw}
	t.Cleanup(func() { _ = l.Close() })
	config := &tls.Config{Certificates: []tls.Certificate{*own}, MinVersion: tls.VersionTLS12}
	go func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go w.listen(tls.Server(conn, config))
			}
		}
	}()
	return w
}

func (w *witness) listen(conn *tls.Conn) {
	defer conn.Close()
	w.tried.Add(1)
	_ = conn.SetDeadline(time.Now().Add(harness.Patience))
	if conn.Handshake() != nil {
		return
	}
	w.completed.Add(1)
	n, _ := io.Copy(io.Discard, conn)
	w.heard.Add(n)
}
