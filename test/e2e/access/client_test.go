// The clients of the tests: requests, raw ones too, and what an answer must be.

package access

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// client calls one site.
type client struct {
	*testing.T
	world *world
	site  string
	http  *http.Client
	base  string
	edits []edit // of every request
}

func (w *world) client(t *testing.T, site string) *client {
	t.Helper()
	return &client{T: t, world: w, site: site, http: newHTTP(nil), base: w.site(site).URL()}
}

func newHTTP(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       harness.Patience,
	}
}

// from is the same client with another address on the loopback network.
func (c *client) from(address string) *client {
	other := *c
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	other.http = newHTTP(dialer.DialContext)
	return &other
}

// answer is a response that was read to its end.
type answer struct {
	*testing.T
	logon  harness.Logon // how its client logs in
	what   string
	status int
	header http.Header
	body   string
}

func (a *answer) String() string {
	return fmt.Sprintf("%s: %d %s %.400s", a.what, a.status, a.header.Get("Content-Type"), a.body)
}

type edit = func(*http.Request)

func header(name, value string) edit { return func(r *http.Request) { r.Header.Add(name, value) } }
func bearer(token string) edit       { return header("Authorization", "Bearer "+token) }

func (c *client) do(method, path, body string, edits ...edit) *answer {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	return c.send(req, edits...)
}

// send sends a request as clients of the product do.
func (c *client) send(req *http.Request, edits ...edit) *answer {
	c.Helper()
	for _, e := range append(slices.Clone(c.edits), edits...) {
		e(req)
	}
	if l := logon(c.product()); l.Basic {
		if token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
			l.Present(req.Header, token)
		}
		if req.Header.Get("Accept") == "" {
			req.Header.Set("Accept", "application/json") // errors too
		}
	}
	what := req.Method + " " + req.URL.RequestURI()
	res, err := c.http.Do(req)
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
	return c.read(what, res)
}

func (c *client) read(what string, res *http.Response) *answer {
	c.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
	return &answer{T: c.T, logon: logon(c.product()), what: c.site + " " + what, status: res.StatusCode, header: res.Header, body: string(text)}
}

func (c *client) get(path string, edits ...edit) *answer {
	c.Helper()
	return c.do(http.MethodGet, path, "", edits...)
}

// raw sends bytes as they are and reads one answer.
func (c *client) raw(request string) *answer {
	c.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := io.WriteString(conn, request); err != nil {
		c.Fatal(err)
	}
	line, _, _ := strings.Cut(request, "\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		c.Fatalf("%q: %v", line, err)
	}
	return c.read(line, res)
}

// line is a request with nothing but its first line and a host.
func (c *client) line(first string, headers ...string) *answer {
	c.Helper()
	head := first + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n"
	for _, h := range headers {
		head += h + "\r\n"
	}
	return c.raw(head + "\r\n")
}

// product is that of the site.
func (c *client) product() string {
	return c.world.site(c.site).Server.Profile().Product()
}

// relayed is the same client without the trust in its address, as behind a
// proxy.
func (c *client) relayed() *client {
	other := *c
	other.edits = []edit{header("X-Forwarded-For", "192.0.2.7")}
	return &other
}

// form asks the token endpoint.
func (c *client) form(pairs ...string) *answer {
	c.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return c.do(http.MethodPost, facts[c.product()].token, values.Encode(), header("Content-Type", "application/x-www-form-urlencoded"))
}

func (c *client) login(name, password string) *answer {
	c.Helper()
	req, err := logon(c.product()).Request(c.base, name, password)
	if err != nil {
		c.Fatal(err)
	}
	return c.send(req.WithContext(c.Context()))
}

// renew goes on after a login as clients of the product do: with the refresh token, or
// with another login where there is none.
func (c *client) renew(p pair, name, password string) *answer {
	c.Helper()
	if facts[c.product()].basic {
		return c.login(name, password)
	}
	return c.form("grant_type", "refresh_token", "refresh_token", p.Refresh)
}

// logout ends what a client got.
func (c *client) logout(p pair) *answer {
	c.Helper()
	method, path, _ := strings.Cut(facts[c.product()].logout, " ")
	if strings.Contains(path, "{}") {
		id, err := base64.StdEncoding.DecodeString(p.Access)
		if err != nil {
			c.Fatal(err)
		}
		path = strings.Replace(path, "{}", string(id), 1)
	}
	return c.do(method, path, "", bearer(p.Access))
}

// pair are the tokens of a token answer, or the session that a client got.
type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (c *client) tokens(name, password string) pair {
	c.Helper()
	return c.login(name, password).tokens()
}

func (a *answer) want(status int) *answer {
	a.Helper()
	if a.status != status {
		a.Errorf("%d is wanted: %v", status, a)
	}
	return a
}

func (a *answer) into(v any) {
	a.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.Fatalf("%v: %v", a, err)
	}
}

func (a *answer) tokens() (p pair) {
	a.Helper()
	var err error
	if p.Access, p.Refresh, err = a.logon.Read(a.status, a.header, []byte(a.body)); err != nil {
		a.Fatalf("%v: %v", err, a)
	}
	return p
}

// echoPath is the path of a request that needs a token.
func (c *client) echoPath() string { return c.world.servers[c.product()].Base() + "/echo" }

// echoed is what the server says about a request that it got.
type echoed struct {
	Method, Path, Query, Host, Subject string
	Headers                            http.Header
}

func (c *client) echo(edits ...edit) (e echoed) {
	c.Helper()
	a := c.get(c.echoPath(), edits...)
	if a.status != http.StatusOK {
		c.Fatal(a)
	}
	a.into(&e)
	return e
}

// accepted waits until a token is accepted, which may take another process than the one that
// has issued it a while on a busy machine.
func (c *client) accepted(access string) {
	c.Helper()
	harness.Eventually(c.T, "the token is accepted", func() bool { return c.get(c.echoPath(), bearer(access)).status == http.StatusOK })
}

// The keys of an error document of each product, elsewhere and at the token
// endpoint of VSPC.
var errorKeys = map[string][]string{
	"vbr":        {"errorCode", "message", "resourceId"},
	"vspc":       {"errors"},
	"vspc token": {"error", "error_description", "error_uri"},
	"azure":      {"detail", "instance", "status", "title", "traceId", "type"},
	"azure 400":  {"detail", "errors", "status", "title", "traceId", "type"},
	"azure 403":  {"detail", "instance", "licenseAgreementAcceptanceRequired", "status", "title", "traceId", "type"},
	"aws":        {"data", "details", "errorCode", "instance", "status", "title", "type"},
	"vb365":      {"errorCode", "message", "stackTrace"},
	"one":        {"detail", "instance", "status", "title", "type"},
	"em":         {"firstChanceExceptionMessage", "message", "stackTrace", "status", "statusCode"},
	"gcp":        {"data", "details", "errorCode", "instance", "status", "title", "type"},
}

// refused demands an error in the form of the product.
func (a *answer) refused(kind string, status int) *answer {
	a.Helper()
	a.want(status)
	if specific := kind + " " + strconv.Itoa(status); errorKeys[specific] != nil {
		kind = specific
	}
	var document map[string]any
	a.into(&document)
	if got := slices.Sorted(maps.Keys(document)); !slices.Equal(got, errorKeys[kind]) {
		a.Errorf("%v: keys %q, not %q", a, got, errorKeys[kind])
	}
	if status == http.StatusTooManyRequests && a.header.Get("Retry-After") == "" {
		a.Errorf("no Retry-After: %v", a)
	}
	return a
}

// insecureTransport leads to an emulated server without the sidecar.
func insecureTransport(server *veeamtest.Server) *http.Transport {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
}

// tokenRequest is a login of the first account at VBR itself.
func tokenRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {monitor}, "password": {veeamtest.DefaultPassword}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Api-Version", "1.1-rev0")
	return req
}
