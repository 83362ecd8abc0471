// The versions of HTTP over real sockets: what is decided does not depend on them.

package access

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// overTLS starts a Caddy with one site with TLS, and returns a client for each
// version of HTTP.
func overTLS(t *testing.T, options string) (base string, clients map[string]http.RoundTripper) {
	t.Helper()
	dir, err := os.MkdirTemp("", "http3") //nolint:usetesting // Caddy may still write there when the test ends
	if err != nil {
		t.Fatal(err)
	}
	if err := newPKI(dir); err != nil {
		t.Fatal(err)
	}
	certificate := "tls " + filepath.Join(dir, "server.pem") + " " + filepath.Join(dir, "server.key")
	w := newWorld(dir, &site{Name: "tls", Address: "https://", Before: certificate, Options: options})
	w.Global = "auto_https off"
	t.Cleanup(w.stop)
	if err := w.serve(); err != nil {
		t.Fatal(err)
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	trust := func(protocols ...string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: protocols}
	}
	one := &http.Transport{TLSClientConfig: trust("http/1.1"), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	two := &http.Transport{TLSClientConfig: trust(), ForceAttemptHTTP2: true}
	three := &http3.Transport{TLSClientConfig: trust()}
	t.Cleanup(func() { one.CloseIdleConnections(); two.CloseIdleConnections(); _ = three.Close() })
	return fmt.Sprintf("https://localhost:%d", w.port("tls")), map[string]http.RoundTripper{"HTTP/1.1": one, "HTTP/2.0": two, "HTTP/3.0": three}
}

func send(t *testing.T, client http.RoundTripper, method, target, proto string) (status int, body, version string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	req := (&http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}, Proto: proto}).WithContext(ctx)
	res, err := client.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text), res.Proto
}

func TestNoVersionOfHTTPWalksAroundARule(t *testing.T) {
	base, clients := overTLS(t, "deny operation secret destroy")
	for version, client := range clients {
		for _, c := range []struct {
			method, path string
			status       int
		}{
			{"GET", "/api/v1/jobs", 200},
			{"get", "/api/v1/jobs", 200},
			{"GET", "/api/v1/credentials", 403},
			{"delete", "/api/v1/jobs/" + jobID, 403},
			{"Delete", "/API/v1/Jobs/" + jobID, 403},
			{"TRACE", "/api/v1/jobs", 405},
			{"trace", "/api/v1/jobs", 405},
			{"TRACK", "/api/v1/jobs", 405},
			{"PROPFIND", "/api/v1/jobs", 405},
			{"GET", "/api/v1/jobs?_method=DELETE", 400},
			{"POST", "/api/v1/token", 403},
		} {
			status, body, proto := send(t, client, c.method, base+c.path, "")
			if status != c.status || proto != version {
				t.Errorf("%s %s over %s: %d over %s: %s", c.method, c.path, version, status, proto, body)
			}
		}
	}
}

// The letters of a method hide it from no rule, also where everything else is allowed
// and where the rule has nothing but the method to go by.
func TestNoSpellingOfAMethodWalksAroundARule(t *testing.T) {
	for _, deny := range []string{
		"deny method DELETE",
		"deny {\n\t\tmethod DELETE\n\t}",
		"deny {\n\t\texpression method('DELETE')\n\t}",
		"deny {\n\t\texpression {http.request.method} == 'DELETE'\n\t}",
	} {
		base, clients := overTLS(t, deny+"\n\tdefault allow")
		for version, client := range clients {
			for _, method := range []string{"DELETE", "delete", "Delete", "dELETE", "deletE"} {
				status, body, proto := send(t, client, method, base+"/api/v1/jobs/"+jobID, "")
				if status != http.StatusForbidden || proto != version {
					t.Errorf("%q: %s over %s: %d over %s: %s", deny, method, version, status, proto, body)
				}
			}
			for _, method := range []string{"GET", "get", "Get", "gET"} {
				if status, body, proto := send(t, client, method, base+"/api/v1/jobs", ""); status != http.StatusOK || proto != version {
					t.Errorf("%q: %s over %s: %d over %s: %s", deny, method, version, status, proto, body)
				}
			}
			for _, method := range []string{"DELETES", "xDELETE", "delete1"} {
				if status, body, _ := send(t, client, method, base+"/api/v1/jobs/"+jobID, ""); status != http.StatusMethodNotAllowed {
					t.Errorf("%q: %s over %s: %d: %s", deny, method, version, status, body)
				}
			}
		}
	}
}

func TestAnExtendedConnectIsDecidedAsTheGETThatIsMadeOfIt(t *testing.T) {
	base, clients := overTLS(t, "deny operation secret destroy")
	client := clients["HTTP/3.0"]
	for _, c := range []struct {
		path, protocol string
		status         int
	}{
		{"/api/v1/credentials", "websocket", 403},
		{"/api/v1/Credentials/", "websocket", 403},
		{"/api/v1/jobs", "websocket", 200},
		{"/api/oauth2/token", "websocket", 403},
		{"/api/v1/jobs", "webtransport", 405},
		{"/api/v1/credentials", "connect-udp", 405},
	} {
		status, body, _ := send(t, client, http.MethodConnect, base+c.path, c.protocol)
		if status != c.status || strings.Contains(body, "username") {
			t.Errorf("%s with %s: %d %s", c.path, c.protocol, status, body)
		}
	}
}

// masked is a frame of a websocket client with a short text.
func masked(text string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
}

func TestAWebsocketOverHTTP3EndsWithTheRightsOfItsCaller(t *testing.T) {
	base, clients := overTLS(t, twoClients+"\n\t\tallow *")
	ask := func(method, path, token string) (body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader("grant_type=password&username=grafana&password="+password))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if token != "" {
			bearer(token)(req)
		}
		res, err := clients["HTTP/1.1"].RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode > 299 {
			t.Fatal(res.Status, err, string(text))
		}
		return string(text)
	}
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(ask(http.MethodPost, "/api/oauth2/token", "")), &token); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	out, in := io.Pipe()
	defer in.Close()
	u, err := url.Parse(base + "/api/v1/websocket")
	if err != nil {
		t.Fatal(err)
	}
	req := (&http.Request{Method: http.MethodConnect, URL: u, Host: u.Host, Proto: "websocket", Body: out, Header: http.Header{
		"Sec-Websocket-Version": {"13"}, "Origin": {base},
	}}).WithContext(ctx)
	bearer(token.Access)(req)
	res, err := clients["HTTP/3.0"].RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	echo := func() error {
		if _, err := in.Write(masked("hello")); err != nil {
			return err
		}
		back := make([]byte, 2+len("hello"))
		_, err := io.ReadFull(res.Body, back)
		return err
	}
	for range 3 {
		if err := echo(); err != nil {
			t.Fatal(err)
		}
	}
	ask(http.MethodPost, "/api/oauth2/logout", token.Access)
	for err == nil {
		time.Sleep(10 * time.Millisecond)
		err = echo()
	}
	if ctx.Err() != nil {
		t.Error("it goes on")
	}
}

// remembered are the tickets of TLS sessions, and tells when there is one.
type remembered struct {
	tls.ClientSessionCache
	put chan struct{}
}

func (r *remembered) Put(key string, session *tls.ClientSessionState) {
	r.ClientSessionCache.Put(key, session)
	select {
	case r.put <- struct{}{}:
	default:
	}
}

// Early data can be recorded and sent again, from any address.
func TestEarlyDataIsNotDecidedAbout(t *testing.T) {
	base, clients := overTLS(t, "client grafana "+bcryptHash)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	tickets := &remembered{tls.NewLRUClientSessionCache(10), make(chan struct{}, 1)}
	trust := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{http3.NextProtoH3}, ClientSessionCache: tickets}
	client := &http3.Transport{TLSClientConfig: trust}
	defer client.Close()
	// ask sends a request, as soon as the connection lets it.
	ask := func(method, path string) (status int, body string, early bool) {
		conn, err := quic.DialAddrEarly(ctx, u.Host, trust, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseWithError(0, "") }()
		stream, err := client.NewClientConn(conn).OpenRequestStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(ctx, method, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(stream.SendRequestHeader(req), stream.Close()); err != nil {
			t.Fatal(err)
		}
		res, err := stream.ReadResponse()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		select { // for the next connection
		case <-tickets.put:
		case <-ctx.Done():
			t.Fatal("no ticket")
		}
		return res.StatusCode, string(text), conn.ConnectionState().Used0RTT
	}
	if status, body, early := ask(http.MethodGet, "/api/v1/jobs"); status != http.StatusOK || early {
		t.Fatal(status, body, early)
	}
	for _, c := range [][2]string{
		{http.MethodGet, "/api/v1/jobs"},
		{http.MethodPost, "/api/v1/jobs/" + jobID + "/start"},
		{http.MethodDelete, "/api/v1/jobs/" + jobID},
		{http.MethodPost, "/api/oauth2/token"},
		{http.MethodPost, "/api/oauth2/logout"},
		{http.MethodGet, "/api/v1/serverTime"},
	} {
		status, body, early := 0, "", false
		for tries := 0; status != http.StatusTooEarly && tries < 100; tries++ { // on a busy machine the handshake may be complete before the request is looked at
			status, body, early = ask(c[0], c[1])
		}
		if !early || status != http.StatusTooEarly || !strings.Contains(body, "(too_early)") {
			t.Errorf("%s %s: %d %s, early %t", c[0], c[1], status, body, early)
		}
	}
	// What an earlier proxy says of it.
	for _, path := range []string{"/api/v1/jobs", "/api/oauth2/token"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Early-Data", "1")
		res, err := clients["HTTP/1.1"].RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != http.StatusTooEarly {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}
