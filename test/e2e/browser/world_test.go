// Package browser shows what pages of other sites get out of the browser of
// an admitted caller: a real Chromium, a real Caddy with the module, and an
// emulated server that tells what it executes. This file holds the set-up.
package browser

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}

//go:embed testdata/page.js
var pageScript string

// The user of basic_auth. The hash is that of the password.
const (
	basicUser     = "bob"
	basicPassword = "builder"
	basicHash     = "$2a$04$JtdEpqxBUnUBxy6T63cbHuSlRHPPn3KyHsnKHhEZpitVgk.9a0g/u"
)

// The ways in which a browser is admitted, one site for each.
const (
	byAddress     = "loopback"
	byPassword    = "basic_auth"
	byCertificate = "certificate"
)

var ways = []string{byAddress, byPassword, byCertificate}

// world is one Chromium, one Caddy, one server, and the attacker.
type world struct {
	dir      string
	server   *veeamtest.Server
	caddy    *harness.Caddy
	browser  context.Context
	attacker *httptest.Server
	bases    map[string]string // where the browser reaches a site, by its name
	rebound  map[string]string // the same under the attacker's name

	read   map[string][]seen // what was read of the access log, by mark
	readTo int64             // how far

	mu       sync.Mutex
	executed map[string]int // with an account, by mark
}

// site is one site of Caddy.
type site struct {
	name, way, before, options string
}

// unseen takes away what the module looks at, as if it did not look: this is how
// the tests show that they would notice.
const unseen = "request_header -Sec-Fetch-*\n\trequest_header -Origin\n\trequest_header -Accept-Language"

// silently has basic_auth ask at one path only: elsewhere the browser would ask its
// user, who is not there, and keep its connections waiting.
const silently = `
	handle_errors {
		@elsewhere not path /api/v1/serverTime
		header @elsewhere -WWW-Authenticate
		respond {err.status_code}
	}`

func (w *world) sites() []site {
	var all []site
	for _, way := range ways {
		all = append(all,
			site{name: way, way: way},
			site{name: way + " unseen", way: way, before: unseen, options: "hosts evil.test"},
			site{name: way + " allowed", way: way, options: "allowed_origins " + w.allowed(way), before: cors(w.allowed(way))})
	}
	return all
}

// allowed is the origin that a site allows. Chromium remembers a password for the
// site that is shown at the top, so the page that may use it is one of another port.
func (w *world) allowed(way string) string {
	if way == byPassword {
		return w.origin("localhost")
	}
	return w.origin("tools.test")
}

// cors answers what browsers ask before they send requests of another origin.
func cors(origin string) string {
	return strings.ReplaceAll(`@tools header Origin ORIGIN
	header @tools {
		Access-Control-Allow-Origin ORIGIN
		Access-Control-Allow-Credentials true
		Access-Control-Allow-Methods "GET, POST, DELETE"
		Access-Control-Allow-Headers "Authorization, Content-Type"
		Vary Origin
	}
	@preflight {
		method OPTIONS
		header Origin ORIGIN
		header Access-Control-Request-Method *
	}`, "ORIGIN", origin)
}

// origin is that of a page of the attacker's server under one of the names that
// lead to this machine.
func (w *world) origin(name string) string {
	_, port, _ := net.SplitHostPort(w.attacker.Listener.Addr().String())
	return "http://" + net.JoinHostPort(name, port)
}

// needChromium skips a test where there is no browser. test/run says what is missing, and
// fails where everything is required.
func needChromium(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("there is no chromium in PATH")
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	needChromium(t)
	w := &world{dir: t.TempDir(), bases: map[string]string{}, rebound: map[string]string{}, executed: map[string]int{}}
	w.server = veeamtest.New(veeamtest.VBR13, veeamtest.WithObserver(w.observe))
	if err := w.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.server.Close)
	w.attacker = httptest.NewServer(http.HandlerFunc(attack))
	t.Cleanup(w.attacker.Close)
	w.startCaddy(t)
	w.startBrowser(t)
	return w
}

// observe counts what is executed with the bearer of an account.
func (w *world) observe(x veeamtest.Executed) {
	if x.Subject == "" {
		return
	}
	query, _ := url.ParseQuery(x.Query)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.executed[query.Get("mark")]++
}

func (w *world) count(mark string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.executed[mark]
}

// attack serves the attacker's page, and redirects.
func attack(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/page":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!doctype html><body><script>self.redirector = %q;\nself.payload = %q;\n%s</script>", "http://"+r.Host, payload(r), strings.ReplaceAll(pageScript, "</", `<\/`))
	case "/redirect":
		status := http.StatusFound
		if r.URL.Query().Get("status") == "307" {
			status = http.StatusTemporaryRedirect
		}
		http.Redirect(w, r, r.URL.Query().Get("to"), status)
	default:
		http.NotFound(w, r)
	}
}

// payload is what a page posts: a login, or, for the pages that a test of the admin
// endpoints opens, what those want.
func payload(r *http.Request) string {
	if r.URL.Query().Has("admin") {
		return adminPayload
	}
	return ""
}

func (w *world) startCaddy(t *testing.T) {
	t.Helper()
	pki(t, w.dir)
	secret := filepath.Join(w.dir, "password")
	if err := os.WriteFile(secret, []byte(veeamtest.DefaultPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	sites := w.sites()
	ports, err := harness.FreePorts(len(sites))
	if err != nil {
		t.Fatal(err)
	}
	global := "admin {$CADDY_ADMIN}\n\tskip_install_trust\n\tauto_https disable_redirects\n\tservers {\n\t\tlog_credentials\n\t}\n"
	var blocks strings.Builder
	for i, s := range sites {
		address, before := fmt.Sprintf("http://:%d", ports[i]), s.before
		switch s.way {
		case byPassword:
			except := ""
			if strings.Contains(before, "@preflight") {
				before, except = before+"\n\t@asked not method OPTIONS", "@asked"
			}
			before += fmt.Sprintf("\n\tbasic_auth %s {\n\t\t%s %s\n\t}%s", except, basicUser, basicHash, silently)
		case byCertificate:
			address = fmt.Sprintf("https://:%d", ports[i])
			before += fmt.Sprintf("\n\ttls %[1]s/site.pem %[1]s/site.key {\n\t\tclient_auth {\n\t\t\ttrust_pool file %[1]s/ca.pem\n\t\t}\n\t}", w.dir)
			if strings.Contains(s.before, unseen) {
				global += fmt.Sprintf("\tservers 127.0.0.1:%d {\n\t\tlog_credentials\n\t\tstrict_sni_host insecure_off\n\t}\n", ports[i])
			}
		}
		if strings.Contains(before, "@preflight") {
			before += "\n\trespond @preflight 204"
		}
		fmt.Fprintf(&blocks, "%s {\n\tbind 127.0.0.1\n\tlog {\n\t\toutput file %s\n\t}\n\t%s\n\tveeam_auth %s {\n\t\taccount svc-monitor {file.%s}\n\t\ttls_pin %s\n\t\t%s\n\t}\n}\n",
			address, filepath.Join(w.dir, "access.log"), before, w.server.URL(), secret, harness.Pin(w.server), s.options)
	}
	path := filepath.Join(w.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte("{\n\t"+global+"}\n"+blocks.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w.caddy, err = harness.StartCaddy(w.dir, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.caddy.Stop)
	for i, s := range sites {
		w.reach(t, s, fmt.Sprintf("127.0.0.1:%d", ports[i]))
	}
}

// reach finds out how the browser comes to a site: at its address, or, where a
// certificate is wanted, over a relay that has one. To give a certificate to
// Chromium takes a policy of the machine; the relay sends exactly the bytes that
// Chromium sends, and shows the certificate on every connection, which is more
// than a browser would do.
func (w *world) reach(t *testing.T, s site, address string) {
	t.Helper()
	scheme, dial := "http", func() (net.Conn, error) { return net.Dial("tcp", address) }
	var own *tls.Config
	if s.way == byCertificate {
		client, err := tls.LoadX509KeyPair(filepath.Join(w.dir, "client.pem"), filepath.Join(w.dir, "client.key"))
		if err != nil {
			t.Fatal(err)
		}
		relay, err := tls.LoadX509KeyPair(filepath.Join(w.dir, "site.pem"), filepath.Join(w.dir, "site.key"))
		if err != nil {
			t.Fatal(err)
		}
		config := &tls.Config{
			ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"},
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil },
		}
		scheme, own = "https", &tls.Config{Certificates: []tls.Certificate{relay}, NextProtos: []string{"http/1.1"}}
		dial = func() (net.Conn, error) { return tls.Dial("tcp", address, config) }
	}
	port := startRelay(t, own, dial, w.attacker.URL)
	w.rebound[s.name] = fmt.Sprintf("%s://evil.test:%d", scheme, port)
	w.bases[s.name] = "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
	if own != nil {
		w.bases[s.name] = fmt.Sprintf("https://localhost:%d", port)
	}
}

func (w *world) startBrowser(t *testing.T) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, EXCLUDE localhost, EXCLUDE 127.0.0.1"))
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	browser, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	bounded, stop := context.WithTimeout(browser, 20*time.Minute) // only a hang exceeds it
	t.Cleanup(stop)
	w.browser = bounded
	// The first step starts the browser, which lives as long as this context.
	if err := chromedp.Do(w.browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
}

// patience is how long a step of the browser may take before it is tried again,
// and tries how often: only a browser that hangs exceeds all of it.
const (
	patience = time.Minute
	tries    = 12
)

// visit opens an address, and waits for its page. The page before may be on its way
// elsewhere, which ends a visit; then it is tried again.
func (w *world) visit(t *testing.T, address string) {
	t.Helper()
	var err error
	for range tries {
		if err = w.try(chromedp.Navigate(address)); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", address, err)
}

// open visits a page of the attacker's and makes sure that it is there.
func (w *world) open(t *testing.T, page string) {
	t.Helper()
	there := fmt.Sprintf("if (typeof run != 'function' || location.href != %q) throw 'another page'", page)
	for range tries {
		w.visit(t, page)
		if w.try(chromedp.Evaluate[chromedp.Void](there)) == nil {
			return
		}
	}
	t.Fatalf("%s does not stay", page)
}

func (w *world) try(action chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(w.browser, patience)
	defer cancel()
	return chromedp.Do(ctx, action)
}

// eval runs a script in the page and waits for its promise.
func eval[T any](t *testing.T, w *world, script string) T {
	t.Helper()
	value, err := chromedp.Run(w.browser, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%.200s: %v", script, err)
	}
	return value
}

// seen is a request that a site has answered.
type seen struct {
	Status  int `json:"status"`
	Request struct {
		Method  string      `json:"method"`
		Host    string      `json:"host"`
		URI     string      `json:"uri"`
		Headers http.Header `json:"headers"`
	} `json:"request"`
}

// answered are the requests that sites have answered, by mark.
func (w *world) answered(t *testing.T) map[string][]seen {
	t.Helper()
	file, err := os.Open(filepath.Join(w.dir, "access.log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if w.read == nil {
		w.read = make(map[string][]seen)
	}
	more, err := io.ReadAll(io.NewSectionReader(file, w.readTo, math.MaxInt64-w.readTo))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(more) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // is being written
		}
		w.readTo += int64(len(line))
		var s seen
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
		if u, err := url.Parse(s.Request.URI); err == nil {
			mark := u.Query().Get("mark")
			w.read[mark] = append(w.read[mark], s)
		}
	}
	return w.read
}

// await waits until each of the marks has been answered, and returns those that
// were not in time.
func (w *world) await(t *testing.T, marks []string) (missing []string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		all := w.answered(t)
		missing = slices.DeleteFunc(slices.Clone(marks), func(mark string) bool { return len(all[mark]) > 0 })
		if len(missing) == 0 || time.Now().After(deadline) {
			return missing
		}
	}
}

// pki makes an authority, the certificate of the sites, and that of the browser.
func pki(t *testing.T, dir string) {
	t.Helper()
	authority := certs.Authority("ca")
	err := certs.Write(dir, "ca", authority)
	for _, name := range []string{"site", "client"} {
		one := certs.Issue(authority, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}})
		err = errors.Join(err, certs.Write(dir, name, one))
	}
	if err != nil {
		t.Fatal(err)
	}
}
