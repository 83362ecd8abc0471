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
	"strings"
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
	text, err := os.ReadFile(filepath.Join(w.Dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "sidecar.test"}
	config.RootCAs.AppendCertsFromPEM(text)
	if name != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(w.Dir, name+".pem"), filepath.Join(w.Dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		// Sent whoever the server asks for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port(site)))
	c.base = "https://sidecar.test:" + strconv.Itoa(w.port(site))
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
	w.logs(t, "[User: certificate:CN=exporter,O=Lab][GET] request to [/api/v1/jobs]")

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
	exporter, other := w.certified(t, "exporter"), w.certified(t, "other")
	mine := exporter.form("grant_type", "password", "username", "x", "password", "y").tokens()
	exporter.get("/api/v1/jobs", bearer(mine.Access)).want(http.StatusOK)
	theirs := other.form("grant_type", "password", "username", "x", "password", "y").tokens()
	other.get("/api/v1/jobs", bearer(theirs.Access)).refused("vbr", http.StatusForbidden)
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
	socket := filepath.Join(w.Dir, "s")
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
	before := w.servers["vbr"].Counters()
	c.get("/api/v1/serverTime", stranger).want(http.StatusOK)
	if after := w.servers["vbr"].Counters(); after.Anonymous != before.Anonymous+1 || after.TokenRequests != before.TokenRequests {
		t.Errorf("%+v, before: %+v", after, before)
	}
	c.get("/api/v1/serverInfo", stranger).refused("vbr", http.StatusUnauthorized)
	// A rule that denies everybody denies those who are known as well.
	c.get("/api/v1/serverInfo").refused("vbr", http.StatusForbidden)
	// Strangers get no tokens by it.
	c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username=x&password=y",
		header("Content-Type", "application/x-www-form-urlencoded"), stranger).refused("vbr", http.StatusUnauthorized)
	w.logs(t, "request to [/api/v1/serverInfo]", "[User: Anonymous]")
}

func TestUnknownCallersNeverActAsAnAccount(t *testing.T) {
	w := here(t)
	c := w.client(t, "unknown")
	c.get("/api/v1/echo").want(http.StatusOK) // the account has a session
	mine := c.relayed().tokens("grafana", password)
	before := w.servers["vbr"].Counters()
	for _, edits := range [][]edit{
		{header("X-Forwarded-For", "192.0.2.7")},
		{header("Sec-Fetch-Site", "cross-site")},
		{header("Via", "1.1 proxy"), bearer("junk")},
		{header("Via", "1.1 proxy"), bearer(mine.Refresh)},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			// The server says that the request has no token: it was asked without one.
			c.do(method, "/api/v1/echo", "", edits...).want(http.StatusUnauthorized)
		}
	}
	after := w.servers["vbr"].Counters()
	if after.Protected != before.Protected || after.TokenRequests != before.TokenRequests || after.Unauthorized-before.Unauthorized != 12 {
		t.Errorf("a stranger's request was executed or not forwarded: %+v, before: %+v", after, before)
	}
	if e := c.relayed().echo(bearer(mine.Access)); e.Subject != monitor {
		t.Errorf("a client's request went as %q", e.Subject)
	}
	if !strings.Contains(w.Caddy.Output(), "unknown callers act as no account") {
		t.Error("no warning about a rule that lets strangers send what needs a token")
	}
}

func TestAPageOfAnotherSiteCannotBorrowWhatItsBrowserHolds(t *testing.T) {
	w := here(t)
	basic := w.client(t, "basic")
	basic.edits = []edit{func(r *http.Request) { r.SetBasicAuth("grafana", password) }}
	certified := w.certified(t, "exporter")
	browser := func(r *http.Request) {
		r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
		r.Header.Set("Accept-Language", "en")
	}
	form := header("Content-Type", "application/x-www-form-urlencoded")
	for name, c := range map[string]*client{"basic_auth": basic, "certificate": certified, "loopback": w.client(t, "plain")} {
		tokens := c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username=x&password=y", form).tokens()
		own := header("Origin", c.base)
		c.get("/api/v1/serverInfo", browser, own, header("Sec-Fetch-Site", "same-origin")).want(http.StatusOK)
		for what, foreign := range map[string][]edit{
			"fetch with CORS":   {header("Origin", "https://elsewhere.test"), header("Sec-Fetch-Site", "cross-site")},
			"image":             {browser, header("Sec-Fetch-Site", "cross-site")},
			"link":              {browser, header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate")},
			"sandboxed frame":   {browser, header("Origin", "null")},
			"another port":      {browser, header("Sec-Fetch-Site", "same-site")},
			"redirect of typed": {browser, header("Sec-Fetch-Site", "none"), header("Sec-Fetch-Mode", "navigate")},
			"old browser":       {browser},
			"websocket":         {browser, header("Origin", "https://elsewhere.test"), header("Connection", "Upgrade"), header("Upgrade", "websocket")},
		} {
			w.nothingReached(t, "vbr", func() {
				for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodPatch} {
					c.do(method, "/api/v1/serverInfo", "", foreign...).refused("vbr", http.StatusUnauthorized)
				}
				c.do(http.MethodPost, "/api/oauth2/token", "grant_type=password&username=x&password=y", append(foreign, form)...).refused("vbr", http.StatusUnauthorized)
			})
			// An issued token identifies its caller, except where the address was its only evidence.
			if name == "certificate" {
				c.get("/api/v1/serverInfo", append(foreign, bearer(tokens.Access))...).want(http.StatusOK)
			}
			if t.Failed() {
				t.Fatalf("%s, %s", name, what)
			}
		}
	}
	w.logs(t, "does not come from a known page of this site", "allowed_origins")
}
