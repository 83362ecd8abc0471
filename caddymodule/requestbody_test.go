// Bodies that never come: they hold neither memory nor a connection.

package caddymodule

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// onSockets serves a handler without clients to callers that it does not know.
func onSockets(t *testing.T, timeout time.Duration) *httptest.Server {
	t.Helper()
	c := newChain(t, `{"product": "vspc", "log_body_limit": 1048576}`)
	c.handler.bodyTimeout = timeout
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &benchServer)
		err := c.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			t.Error("a request of an unknown caller is passed on")
			return nil
		}))
		if err != nil {
			t.Error(err)
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// silent is a body of which nothing comes until it is closed.
type silent struct{ closed chan struct{} }

func (s silent) Read([]byte) (int, error) {
	<-s.closed
	return 0, io.EOF
}

// hangs is more than anything takes that does not hang.
const hangs = time.Minute

const relayedBy = "X-Forwarded-For"

func TestABodyThatNeverComesHoldsNoConnection(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{"/api/v3/token": http.StatusRequestTimeout, "/api/v3/organizations": http.StatusUnauthorized} {
		t.Run("HTTP/1.1 "+path, func(t *testing.T) {
			server := onSockets(t, 50*time.Millisecond)
			conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // a test server
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(hangs))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\n%s: 192.0.2.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\ngrant_type=pass", path, relayedBy)
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != want {
				t.Fatalf("%v %v", res, err)
			}
			_ = res.Body.Close()
			if _, err := io.Copy(io.Discard, in); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection does not end")
			}
		})
		t.Run("HTTP/2 "+path, func(t *testing.T) {
			server := onSockets(t, 50*time.Millisecond)
			body := silent{make(chan struct{})}
			release := sync.OnceFunc(func() { close(body.closed) })
			defer release()
			ctx, cancel := context.WithTimeout(t.Context(), hangs)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+path, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(relayedBy, "192.0.2.1")
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			release() // the client waits for its own body
			if res.StatusCode != want || res.ProtoMajor != 2 {
				t.Errorf("%s %d", res.Proto, res.StatusCode)
			}
			_ = res.Body.Close()
		})
	}
}

func TestATokenRequestThatTricklesInHasToEnd(t *testing.T) {
	t.Parallel()
	server := onSockets(t, 50*time.Millisecond)
	in, out := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for { // until the server does not want any more
			if _, err := out.Write([]byte("a")); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	defer func() {
		_ = in.Close()
		<-ended
	}()
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/api/v3/token", in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(relayedBy, "192.0.2.1")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%d", res.StatusCode)
	}
}

// untouchable is a body that nobody may read.
type untouchable struct{ *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.Error("the body is read")
	return 0, io.EOF
}

func (untouchable) Close() error { return nil }

func TestNothingIsReadOfTheBodyOfACallerWhoIsNotKnown(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	for _, path := range []string{"/api/v3/organizations", "/api/v3/token/../organizations", "/api/v3/users/logout"} {
		r := httptest.NewRequest(http.MethodPost, path, untouchable{t})
		r.RemoteAddr, r.ContentLength = "192.0.2.1:1", 100
		r.Header.Set("Content-Type", contentTypeJSON)
		w := httptest.NewRecorder()
		if err := c.handler.ServeHTTP(w, prepared(r), nil); err != nil || w.Code < 400 {
			t.Errorf("%s: %d %v", path, w.Code, err)
		}
	}
}
