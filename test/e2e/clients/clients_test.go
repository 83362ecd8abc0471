// Package clients shows that client code of others works through the sidecar as
// it is, with another base URL and nothing else: it logs in, calls, renews and
// logs out, and gets no token of the server's into its hands.
package clients

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}

// The client that all tests log in as. Its password is good at the sidecar only.
const (
	clientName     = "exporter"
	clientPassword = "builder"
	clientHash     = "$2a$04$JtdEpqxBUnUBxy6T63cbHuSlRHPPn3KyHsnKHhEZpitVgk.9a0g/u"
)

// product is what a client knows of one.
type product struct {
	name      string
	profile   veeamtest.Profile
	token     string
	protected string
	logout    string // method and path
}

var products = []product{
	{"vbr", veeamtest.VBR13, "/api/oauth2/token", "/api/v1/serverInfo", "POST /api/oauth2/logout"},
	{"vspc", veeamtest.VSPC, "/api/v3/token", "/api/v3/about", "DELETE /api/v3/users/4d3a1f0e-9c3b-4a52-8d0a-6f1f8d2b1c55/tokens"},
	{"azure", veeamtest.Azure, "/api/oauth2/token", "/api/v8.1/system/about", "DELETE /api/oauth2/token"},
	{"aws", veeamtest.AWS, "/api/v1/token", "/api/v1/about", "DELETE /api/v1/token"},
	{"one", veeamtest.ONE, "/api/token", "/api/v2.3/about", "POST /api/revoke"},
	{"gcp", veeamtest.GCP, "/api/v1/token", "/api/v1/version", "DELETE /api/v1/token"},
	{"vb365", veeamtest.VB365, "/v8/token", "/v8/Organizations", "POST /v8/token/logout"},
}

func TestTheTableHasEveryProduct(t *testing.T) {
	names := make([]string, len(products))
	for i, p := range products {
		names[i] = p.name
	}
	harness.HasEveryProduct(t, names, "vspc35", "em") // which clients log in to in other ways
}

// site is a product with the sidecar in front of it.
type site struct {
	product
	server *veeamtest.Server
	base   string // what the client is told
	wire   *tap
}

// sites starts the products and a sidecar for them. Tokens live for
// lifetime. What clients have received is searched when the test is over.
func sites(t *testing.T, lifetime string) []*site {
	t.Helper()
	w := harness.New(t)
	secret, err := w.Secret("password", veeamtest.DefaultPassword)
	if err != nil {
		t.Fatal(err)
	}
	var all []*site
	for _, p := range products {
		s := &site{product: p, server: harness.StartServer(t, p.profile)}
		w.Sites = append(w.Sites, &harness.Site{
			Server: s.server, Account: "account " + veeamtest.DefaultUser + " " + secret,
			Options: "client " + clientName + " " + clientHash + "\n\t\ttoken_lifetime " + lifetime +
				"\n\t\tdefault deny\n\t\tallow `{http.veeam_auth.client} == \"" + clientName + "\"`",
		})
		all = append(all, s)
	}
	w.Run(t)
	for i, s := range all {
		s.wire = newTap(t, strings.TrimPrefix(w.Sites[i].URL(), "http://"))
		s.base = "http://" + s.wire.listener.Addr().String()
	}
	t.Cleanup(func() {
		for _, s := range all {
			s.clean(t)
		}
	})
	return all
}

// clean searches all that clients have received.
func (s *site) clean(t *testing.T) {
	t.Helper()
	received := s.wire.String()
	if !strings.Contains(received, "HTTP/1.1 200 ") {
		t.Errorf("%s: nothing was received", s.name)
	}
	issued := s.server.Issued()
	if len(issued) == 0 {
		t.Errorf("%s: the server has issued nothing", s.name)
	}
	for _, token := range issued {
		if strings.Contains(received, token) {
			t.Errorf("%s: a client got a token of the server's", s.name)
		}
	}
	if strings.Contains(received, veeamtest.DefaultPassword) {
		t.Errorf("%s: a client got the server's password", s.name)
	}
	// One session has served all of it, and no client's logout has ended it.
	if c := s.server.Counters(); c.PasswordGrants != 1 || c.Logouts != 0 || c.Refused != 0 {
		t.Errorf("%s: the server has seen %+v", s.name, c)
	}
}

// tap is a wire that remembers what comes back.
type tap struct {
	listener net.Listener
	mu       sync.Mutex
	back     bytes.Buffer
}

// newTap listens on a port of its own and leads each connection to address.
func newTap(t *testing.T, address string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tap{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go w.lead(near, address)
		}
	}()
	return w
}

func (w *tap) lead(near net.Conn, address string) {
	far, err := net.Dial("tcp", address)
	if err != nil {
		_ = near.Close()
		return
	}
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(io.MultiWriter(w, near), far)
	_ = near.Close()
	_ = far.Close()
}

// Write takes down what comes back.
func (w *tap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.back.Write(p)
}

func (w *tap) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.back.String()
}
