// Callers whom Caddy knows without a token: by certificate, by password, by
// their socket; and those whom it does not know.

package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// certified returns a client of the site with TLS that presents a certificate,
// or none.
func (w *world) certified(t *testing.T, name string) *client {
	t.Helper()
	return w.certifiedAt(t, "tls", name)
}

func (w *world) certifiedAt(t *testing.T, site, name string) *client {
	t.Helper()
	c := w.client(t, site)
	text, err := os.ReadFile(filepath.Join(w.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "sidecar.test"}
	config.RootCAs.AppendCertsFromPEM(text)
	if name != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(w.dir, name+".pem"), filepath.Join(w.dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		// Sent whoever the server asks for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(w.ports[site]))
	c.base = "https://sidecar.test:" + strconv.Itoa(w.ports[site])
	c.http = newHTTP(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	})
	c.http.Transport.(*http.Transport).TLSClientConfig = config
	return c
}

func TestRulesMayAskForAnotherNameOfACertificateOrForItsKey(t *testing.T) {
	w := here(t)
	exporter, other := w.certifiedAt(t, "tls names", "exporter"), w.certifiedAt(t, "tls names", "other")
	exporter.get("/api/v1/serverInfo").want(http.StatusOK)
	exporter.get("/api/v1/jobs").refused("vbr", http.StatusForbidden)
	other.get("/api/v1/serverInfo").refused("vbr", http.StatusForbidden)
	other.get("/api/v1/jobs").want(http.StatusOK)
}

func TestACallerIsKnownByItsVerifiedCertificate(t *testing.T) {
	w := here(t)
	exporter := w.certified(t, "exporter")
	exporter.get("/api/v1/serverInfo").want(http.StatusOK)
	exporter.get("/api/v1/jobs").want(http.StatusOK)
	w.logs(t, "[User: CN=exporter,O=Lab][GET] request to [/api/v1/jobs]")

	other := w.certified(t, "other")
	other.get("/api/v1/serverInfo").want(http.StatusOK)
	other.get("/api/v1/jobs").refused("vbr", http.StatusForbidden)

	// The host is no name of this machine, so the address does not count.
	w.certified(t, "").get("/api/v1/serverInfo").refused("vbr", http.StatusUnauthorized)

	forged := w.certified(t, "forged")
	if res, err := forged.http.Get(forged.base + "/api/v1/serverInfo"); err == nil {
		res.Body.Close()
		t.Errorf("a certificate of somebody else's: %s", res.Status)
	}
}

func TestATokenOfACertifiedCallerKeepsItsName(t *testing.T) {
	w := here(t)
	mine := w.certified(t, "exporter").form("grant_type", "password", "username", "x", "password", "y").tokens()
	bare := w.certified(t, "")
	bare.get("/api/v1/jobs", bearer(mine.Access)).want(http.StatusOK)
	theirs := w.certified(t, "other").form("grant_type", "password", "username", "x", "password", "y").tokens()
	bare.get("/api/v1/jobs", bearer(theirs.Access)).refused("vbr", http.StatusForbidden)
}

func TestRulesKnowWhomBasicAuthHasLetIn(t *testing.T) {
	w := here(t)
	c := w.client(t, "basic")
	as := func(name string) edit { return func(r *http.Request) { r.SetBasicAuth(name, password) } }
	c.get("/api/v1/serverInfo", as("grafana")).want(http.StatusOK)
	c.get("/api/v1/serverInfo", as("bob")).refused("vbr", http.StatusForbidden)
	c.get("/api/v1/serverInfo").want(http.StatusUnauthorized)
	if e := c.echo(as("grafana")); e.Headers.Get("Authorization") != monitor {
		t.Errorf("the server saw %v", e.Headers)
	}
}

func TestRulesKnowWhoComesOverAUnixSocket(t *testing.T) {
	w := here(t)
	c := w.client(t, "unix")
	socket := filepath.Join(w.dir, "s")
	c.base, c.http = "http://unix.localhost", newHTTP(func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	})
	c.get("/api/v1/serverInfo").want(http.StatusOK)
	if got, want := c.echo().Headers.Get("X-Peer"), fmt.Sprintf("%d/%d/%d", os.Getuid(), os.Getgid(), os.Getpid()); runtime.GOOS == "linux" && got != want {
		t.Errorf("the peer is %s, not %s", got, want)
	}
	c.get("/api/v1/serverInfo", header("Via", "1.1 proxy")).refused("vbr", http.StatusUnauthorized)
	c.get("/api/v1/serverInfo", header("Sec-Fetch-Site", "cross-site")).refused("vbr", http.StatusUnauthorized)
}

func TestUnknownCallersPassByARuleForThemOnly(t *testing.T) {
	w := here(t)
	c := w.client(t, "unknown")
	stranger := header("X-Forwarded-For", "192.0.2.7")
	if e := c.echo(stranger); e.Subject != monitor {
		t.Errorf("the server saw %+v", e)
	}
	c.get("/api/v1/serverInfo", stranger).refused("vbr", http.StatusUnauthorized)
	// A rule that denies everybody denies those who are known as well.
	c.get("/api/v1/serverInfo").refused("vbr", http.StatusForbidden)
	// Strangers get no tokens by it.
	c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username=x&password=y",
		header("Content-Type", "application/x-www-form-urlencoded"), stranger).refused("vbr", http.StatusUnauthorized)
	w.logs(t, "request to [/api/v1/serverInfo]", "[User: Anonymous]")
}
