// What the tests of this package share: a server that answers from a list.

package veeam

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canned is an answer of a server.
type canned struct {
	status int
	body   string
	header http.Header
	err    error // instead of an answer
}

// seen is a request that a server got.
type seen struct {
	method, url, body string
	header            http.Header
}

// server answers one request after the other from its list, and fails the test
// when there are more.
type server struct {
	t       *testing.T
	mu      sync.Mutex
	answers []canned
	seen    []seen
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	s.seen = append(s.seen, seen{req.Method, req.URL.String(), string(body), req.Header.Clone()})
	if len(s.answers) == 0 {
		s.t.Errorf("request %d was one too many: %s %s", len(s.seen), req.Method, req.URL)
		return nil, errors.New("no answer left")
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	if a.err != nil {
		return nil, a.err
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	return &http.Response{
		StatusCode: a.status, Header: a.header, Request: req,
		Body: io.NopCloser(strings.NewReader(a.body)),
	}, nil
}

// client returns a client of a server that has these answers.
func client(t *testing.T, product string, answers ...canned) (*Client, *server) {
	t.Helper()
	s := &server{t: t, answers: answers}
	return &Client{
		Product: lookup(t, product), Transport: s, BaseURL: "https://veeam.test:9419",
		TOTPLedger: &totp.Ledger{},
	}, s
}

func lookup(tb testing.TB, product string) *Product {
	tb.Helper()
	p, ok := Lookup(product)
	if !ok {
		tb.Fatalf("no product %q", product)
	}
	return p
}

// golden reads a file of testdata.
func golden(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// fault demands an *Error of a kind.
func fault(t *testing.T, err error, want Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want an *Error", err, err)
	}
	if e.Kind != want {
		t.Fatalf("got kind %q, want %q: %v", e.Kind, want, e)
	}
	return e
}

const testPassword = "p+w/=& %ä;hunter2"

func testAccount() *Account {
	return &Account{Name: "svc-monitor", Password: secret.New(testPassword)}
}

func login(t *testing.T, c *Client, a *Account) *Token {
	t.Helper()
	token, err := c.Login(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
