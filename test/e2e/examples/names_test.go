// Each name and address of the machine under which an example is reached gives an
// answer of the product's.

package examples

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

// certificate is what the sites that want one trust, and what the client shows.
var certificate = sync.OnceValue(func() *tls.Certificate { return certs.Authority("tester") })

// server is an address that Caddy listens on.
type server struct{ caddy.NetworkAddress }

// names are what this machine is called, and one name that it is not.
func names(t *testing.T) []string {
	t.Helper()
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"127.0.0.1", "::1", "localhost", hostname, "wrong.invalid", "vbr-sidecar.lab.local", "vspc-sidecar.lab.local"}
}

// calls are requests that must not be taken for done.
var calls = []struct{ method, path, body string }{
	{http.MethodGet, "/api/v1/jobs", ""},
	{http.MethodDelete, "/api/v1/jobs/6745a759-2205-4cd2-b172-8ec8f7e60ef8", ""},
	{http.MethodPost, "/api/oauth2/token", "grant_type=password&username=x&password=y"},
	{http.MethodPost, "/api/v3/token", "grant_type=password&username=x&password=y"},
	{http.MethodPost, "/api/v1/token", "grant_type=password&username=x&password=y"},
}

// outcome is how often which kind of answer came.
type outcome struct{ product, none, empty int }

// call makes each call under each name at each loopback address on which the server
// listens.
func (s server) call(t *testing.T, what string, o *outcome) {
	t.Helper()
	var addresses [][2]string
	switch ip := net.ParseIP(s.Host); {
	case s.IsUnixNetwork():
		path, _, _ := strings.Cut(s.Host, "|")
		addresses = [][2]string{{"unix", path}}
	case s.Host == "" || ip.IsUnspecified():
		addresses = [][2]string{{"tcp", net.JoinHostPort("127.0.0.1", port(s))}, {"tcp", net.JoinHostPort("::1", port(s))}}
	default:
		addresses = [][2]string{{"tcp", net.JoinHostPort(s.Host, port(s))}}
	}
	for _, address := range addresses {
		for _, name := range names(t) {
			client := connect(address, name)
			for _, call := range calls {
				res, body := client.request(t, net.JoinHostPort(name, port(s)), call.method, call.path, call.body)
				switch {
				case res == nil:
					o.none++ // nobody listens there, or has no certificate for the name
				case isProducts(res, body):
					o.product++
				default:
					if o.empty++; o.empty > 3 {
						continue
					}
					t.Logf("%s: %s %s of %s at %s: %s, %q, %.80q", what, call.method, call.path, name, address[1], res.Status, res.Header.Get("Content-Type"), body)
				}
			}
			client.close()
		}
	}
}

func port(s server) string {
	_, port, _ := net.SplitHostPort(s.JoinHostPort(0))
	return port
}

// isProducts reports whether an answer is one that clients of the product understand:
// JSON, Enterprise Manager's XML, or a demand for authentication.
func isProducts(res *http.Response, body string) bool {
	if res.StatusCode == http.StatusUnauthorized && res.Header.Get("WWW-Authenticate") != "" {
		return true
	}
	body = strings.TrimSpace(body)
	return strings.HasPrefix(res.Header.Get("Content-Type"), "application/") &&
		(strings.HasPrefix(body, "{") || strings.HasPrefix(body, "<?xml") && strings.Contains(body, "<Error "))
}

// client is connected to one address, and calls it by one name.
type client struct {
	http   *http.Client
	scheme string // empty where there is no connection
}

// connect finds out whether an address speaks TLS. There is no connection where
// nobody listens, or, with TLS, where there is no certificate for the name.
func connect(address [2]string, name string) *client {
	conn, err := net.DialTimeout(address[0], address[1], harness.Patience)
	if err != nil {
		return &client{}
	}
	_ = conn.Close()
	secured := tls.Config{InsecureSkipVerify: true, ServerName: name, Certificates: []tls.Certificate{*certificate()}}
	scheme := "http"
	if conn, err := tls.Dial(address[0], address[1], &secured); err == nil {
		scheme = "https"
		_ = conn.Close()
	} else if strings.Contains(err.Error(), "remote error: tls") {
		return &client{}
	}
	return &client{scheme: scheme, http: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &secured,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, address[0], address[1])
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() {
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// request returns nil where there is no connection.
func (c *client) request(t *testing.T, host, method, path, body string) (*http.Response, string) {
	t.Helper()
	if c.scheme == "" {
		return nil, ""
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.scheme+"://"+host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

func TestEachNameOfTheMachineGivesAnAnswerOfTheProduct(t *testing.T) {
	c := start(t)
	var total outcome
	for _, e := range examples(t) {
		servers, err := load(t, c, e.text)
		if err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		var o outcome
		// Certificates are issued while the sites serve already.
		for deadline := time.Now().Add(2 * time.Minute); o.product == 0 && o.empty == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			for _, s := range servers {
				s.call(t, e.name, &o)
			}
		}
		if o.empty > 0 || o.product == 0 {
			t.Errorf("%s: %d answers of the product, %d others", e.name, o.product, o.empty)
		}
		total.product, total.none, total.empty = total.product+o.product, total.none+o.none, total.empty+o.empty
	}
	t.Logf("%d answers of the product, %d others, %d times no connection", total.product, total.empty, total.none)
	if text := c.Output(); strings.Contains(text, "no site has these names") {
		t.Errorf("an example is warned of: %s", text)
	}
}

// Without this the test above could pass because it notices nothing.
func TestASiteWithAGapIsNoticedAndWarnedOf(t *testing.T) {
	c := start(t)
	const rest = " {\n\tbind 127.0.0.1 [::1]\n\tveeam_auth https://vbr01.lab.local:9419 {\n\t\taccount svc {file./run/secrets/p}\n\t}\n}\n"
	servers, err := load(t, c, "http://localhost:9419, http://127.0.0.1:9419"+rest+"http://vbr02.localhost:9419"+rest+"http://vbr03.localhost:9419"+rest)
	if err != nil {
		t.Fatal(err)
	}
	var o outcome
	for _, s := range servers {
		s.call(t, "gap", &o)
	}
	if o.empty == 0 || o.product == 0 {
		t.Errorf("%+v", o)
	}
	if text := c.Output(); strings.Count(text, "no site has these names") != 1 || !strings.Contains(text, `"::1"`) { // once for a listener, whatever it serves
		t.Errorf("not one warning: %s", text)
	}
}
