// The clients: they know a base URL and nothing else, and remember every byte
// that they get.

package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// client calls one site.
type client struct {
	site *site
	http *http.Client
	base string // default: the site's port on the loopback address
}

func newClient(s *site) *client {
	return &client{site: s, http: newHTTPClient(nil)}
}

// newHTTPClient follows no redirects. dial is how it connects, nil for the usual
// way.
func newHTTPClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, MaxIdleConnsPerHost: 64, DisableCompression: true,
			ExpectContinueTimeout: time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       harness.Patience,
	}
}

// from returns a client of the same site with another address on the loopback
// network, to be told apart from others.
func (c *client) from(address string) *client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	other := *c
	other.http = newHTTPClient(dialer.DialContext)
	return &other
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) url(path string) string {
	base := c.base
	if base == "" {
		base = c.site.URL()
	}
	return base + path
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	proto  string
}

func (a *answer) String() string {
	return fmt.Sprintf("%d %s %.600s", a.status, a.header.Get("Content-Type"), a.body)
}

// edit changes a request before it is sent.
type edit = func(*http.Request)

func header(name, value string) edit {
	return func(r *http.Request) {
		r.Header[http.CanonicalHeaderKey(name)] = append(r.Header[http.CanonicalHeaderKey(name)], value)
	}
}

func bearer(token string) edit { return header("Authorization", "Bearer "+token) }

// try sends a request and reads the answer. It may be called from any goroutine.
func (c *client) try(method, path string, body io.Reader, edits ...edit) (*answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, c.url(path), body)
	if err != nil {
		return nil, err
	}
	return c.send(req, edits...)
}

// send sends a request as clients of the product do.
func (c *client) send(req *http.Request, edits ...edit) (*answer, error) {
	for _, e := range edits {
		e(req)
	}
	if c.site.basic {
		if token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
			c.site.logon().Present(req.Header, token)
		}
		if req.Header.Get("Accept") == "" {
			req.Header.Set("Accept", "application/json")
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	a := &answer{status: res.StatusCode, header: res.Header, body: text, proto: res.Proto}
	c.site.world.leaks.receive(res, text)
	if err == nil && res.ContentLength >= 0 && req.Method != http.MethodHead && int64(len(text)) != res.ContentLength {
		err = errors.New("the answer is shorter than announced")
	}
	return a, err
}

func (c *client) do(t *testing.T, method, path string, body io.Reader, edits ...edit) *answer {
	t.Helper()
	a, err := c.try(method, path, body, edits...)
	if err != nil {
		t.Fatalf("%s %s %s: %v", c.site.Name, method, path, err)
	}
	return a
}

func (c *client) get(t *testing.T, path string, edits ...edit) *answer {
	t.Helper()
	return c.do(t, http.MethodGet, path, nil, edits...)
}

// ok gets a path that must answer 200.
func (c *client) ok(t *testing.T, path string, edits ...edit) *answer {
	t.Helper()
	a := c.get(t, path, edits...)
	a.want(t, http.StatusOK)
	return a
}

func (a *answer) want(t *testing.T, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d is wanted, got %v", status, a)
	}
}

// into reads a JSON answer.
func (a *answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v: %v", err, a)
	}
}

const formType = "application/x-www-form-urlencoded"

// post sends a body to the site's token endpoint.
func (c *client) post(t *testing.T, contentType, body string, edits ...edit) *answer {
	t.Helper()
	return c.do(t, http.MethodPost, c.site.tokens[0], strings.NewReader(body),
		append([]edit{header("Content-Type", contentType)}, edits...)...)
}

// attempt logs in as clients of the product do.
func (c *client) attempt(t *testing.T, edits ...edit) *answer {
	t.Helper()
	req, err := c.site.logon().Request(c.url(""), `LAB\anybody`, "made-up")
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.send(req, edits...)
	if err != nil {
		t.Fatalf("%s: %v", c.site.Name, err)
	}
	return a
}

// pair are the tokens of a token answer, or the session that a client got.
type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// tokens reads the tokens of an answer, which must be a good one. They must not
// show up in any log.
func (c *client) tokensOf(t *testing.T, a *answer) (p pair) {
	t.Helper()
	var err error
	if p.Access, p.Refresh, err = c.site.logon().Read(a.status, a.header, a.body); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{p.Access, p.Refresh} {
		if secret != "" {
			c.site.world.leaks.keepFromLogs(secret)
		}
	}
	return p
}

// login asks for a token as clients do.
func (c *client) login(t *testing.T) pair {
	t.Helper()
	return c.tokensOf(t, c.attempt(t))
}

// renew sends a refresh token.
func (c *client) renew(t *testing.T, refresh string) *answer {
	t.Helper()
	return c.post(t, formType, url.Values{"grant_type": {c.site.refresh[0]}, "refresh_token": {refresh}}.Encode())
}

// echo is what the server says about a request that it got.
func (c *client) echo(t *testing.T, method string, body io.Reader, edits ...edit) (e echoed) {
	t.Helper()
	a := c.do(t, method, c.site.Server.Base()+"/echo", body, edits...)
	a.want(t, http.StatusOK)
	a.into(t, &e)
	return e
}

type echoed struct {
	Proto   string
	Headers http.Header
	Subject string
	Length  int64
	SHA256  string
}

// chunked hides the length of a body, so that it is sent in chunks.
func chunked(body []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(body)} }
