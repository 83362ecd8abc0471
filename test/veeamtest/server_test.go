// Tests over real connections: TLS, both HTTP versions, upgrades, streams, and what faults do to a client.

package veeamtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/websocket"
)

func started(t *testing.T, p Profile, opts ...Option) *Server {
	t.Helper()
	s := New(p, opts...)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func trust() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(CAPEM())
	return &tls.Config{RootCAs: pool}
}

func client(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trust(), ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func send(c *http.Client, s *Server, method, path, bearer string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequest(method, s.URL()+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("x-api-version", version(s))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if strings.EqualFold(path, s.TokenPath()) {
		r.Header.Set("Content-Type", formType)
	}
	return c.Do(r)
}

func TestServerSpeaksHTTPSInBothVersions(t *testing.T) {
	s := started(t, VBR13)
	access, _ := defaultLogin(t, s)
	for proto, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		got, err := send(client(t, http2), s, "POST", "/api/v1/echo", access, bytes.NewReader(make([]byte, 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(got.Body)
		got.Body.Close()
		if got.Proto != proto || !strings.Contains(string(body), `"length":1048576`) || !strings.Contains(string(body), proto) {
			t.Errorf("%s: %s %s", proto, got.Proto, body)
		}
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := s.Certificate().VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

// A connection that is closed soon after the response may lose it.
func TestARefusedBodyIsReadAndTheConnectionKept(t *testing.T) {
	s := started(t, VBR13)
	got, err := send(client(t, false), s, "POST", "/api/v1/echo", "no token", bytes.NewReader(make([]byte, 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	got.Body.Close()
	if got.StatusCode != http.StatusUnauthorized || got.Close {
		t.Errorf("%s, the connection is closed: %t", got.Status, got.Close)
	}
}

func TestServerComesBackOnItsPortWithItsSessions(t *testing.T) {
	s := started(t, Azure)
	access, _ := defaultLogin(t, s)
	url := s.URL()
	s.Close()
	s.Close()
	if _, err := send(client(t, false), s, "GET", "/api/v8/echo", access, nil); err == nil {
		t.Error("a closed server answered")
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	got, err := send(client(t, false), s, "GET", "/api/v8/echo", access, nil)
	if err != nil || got.StatusCode != http.StatusOK || s.URL() != url {
		t.Errorf("%v %v %s", got, err, s.URL())
	}
	got.Body.Close()
}

func TestServerListensOnSeveralAddresses(t *testing.T) {
	s := started(t, VBR13, WithAddr("127.0.0.1:0", "127.0.0.1:0"))
	access, _ := defaultLogin(t, s)
	urls := s.URLs()
	if len(urls) != 2 || urls[0] == urls[1] || urls[0] != s.URL() {
		t.Fatal(urls)
	}
	r, _ := http.NewRequest(http.MethodGet, urls[1]+"/api/v1/echo", nil)
	r.Header.Set("x-api-version", version(s))
	r.Header.Set("Authorization", "Bearer "+access)
	got, err := client(t, true).Do(r)
	if err != nil || got.StatusCode != http.StatusOK {
		t.Fatal(got, err)
	}
	got.Body.Close()
	if err := s.Start(); err == nil {
		t.Error("started twice")
	}
	if err := New(VBR13, WithAddr(strings.TrimPrefix(urls[0], "https://"))).Start(); err == nil {
		t.Error("started on a taken port")
	}
}

func TestWebsocketEchoes(t *testing.T) {
	s := started(t, VSPC)
	access, _ := defaultLogin(t, s)
	config, err := websocket.NewConfig(strings.Replace(s.URL(), "https", "wss", 1)+"/api/v3/websocket", s.URL())
	if err != nil {
		t.Fatal(err)
	}
	config.TlsConfig = trust()
	if _, err := websocket.DialConfig(config); err == nil {
		t.Error("upgraded without a token")
	}
	config.Header.Set("Authorization", "Bearer "+access)
	ws, err := websocket.DialConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for range 3 {
		var text string
		if err := errors.Join(websocket.Message.Send(ws, "hällo"), websocket.Message.Receive(ws, &text)); err != nil || text != "hällo" {
			t.Fatalf("%q %v", text, err)
		}
		var data []byte
		if err := errors.Join(websocket.Message.Send(ws, []byte{0, 255}), websocket.Message.Receive(ws, &data)); err != nil || !bytes.Equal(data, []byte{0, 255}) {
			t.Fatalf("%q %v", data, err)
		}
	}
	s.Close()
	var text string
	if err := websocket.Message.Receive(ws, &text); err == nil {
		t.Error("Close left the connection open")
	}
}

func TestStreamArrivesInPieces(t *testing.T) {
	s := started(t, AWS)
	access, _ := defaultLogin(t, s)
	got, err := send(client(t, true), s, "GET", "/api/v1/stream?chunks=2&ms=60000", access, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	first := make([]byte, len("data: chunk 0\n\n"))
	if _, err := io.ReadFull(got.Body, first); err != nil || string(first) != "data: chunk 0\n\n" {
		t.Errorf("%q %v", first, err)
	}
}

// brokenReader fails in the middle of a body.
type brokenReader struct{ sent bool }

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errors.New("broken")
	}
	b.sent = true
	return copy(p, "half"), nil
}

func TestOnlyWholeRequestsAreExecuted(t *testing.T) {
	s := started(t, VBR13)
	access, _ := defaultLogin(t, s)
	for _, http2 := range []bool{false, true} {
		if got, err := send(client(t, http2), s, "POST", "/api/v1/execute?op=x", access, &brokenReader{}); err == nil {
			got.Body.Close()
			t.Errorf("answered %d", got.StatusCode)
		}
	}
	got, err := send(client(t, true), s, "POST", "/api/v1/execute?op=y", access, strings.NewReader("whole"))
	if err != nil {
		t.Fatal(err)
	}
	got.Body.Close()
	if c := s.Counters(); c.Executed["x"] != 0 || c.Executed["y"] != 1 {
		t.Errorf("%+v", c.Executed)
	}
}

func TestFaults_UnsolicitedBytesFollowAnAnswerWithoutABody(t *testing.T) {
	s := started(t, VBR13)
	for _, c := range []struct {
		method string
		status int
		want   string
	}{
		{http.MethodHead, 200, "HTTP/1.1 200 OK"}, {http.MethodGet, 0, "HTTP/1.1 204 No Content"}, {http.MethodGet, 304, "HTTP/1.1 304 Not Modified"},
	} {
		s.SetFault(Fault{Kind: FaultUnsolicited, On: OnAnonymous, Status: c.status, Body: "behind"})
		conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{RootCAs: trust().RootCAs})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s /api/v1/serverTime HTTP/1.1\r\nHost: x\r\nX-Api-Version: 1.3-rev1\r\n\r\n", c.method)
		_ = conn.CloseWrite()
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(got), c.want+"\r\n") || !strings.HasSuffix(string(got), "\r\n\r\nbehind") {
			t.Errorf("%s %d: %v %q", c.method, c.status, err, got)
		}
		conn.Close()
	}
}

func TestFaults(t *testing.T) {
	const form = "grant_type=password&username=svc-monitor&password=monitor-pass-1"
	s := started(t, AWS)
	for _, http2 := range []bool{false, true} {
		for _, c := range []struct {
			fault  Fault
			status int // 0: no answer
			body   string
			broken bool // the body breaks off
		}{
			{fault: Fault{Kind: FaultStatus}, status: 500, body: `"errorCode":"UnknownError"`},
			{fault: Fault{Kind: FaultStatus, Status: 520, Body: "oops"}, status: 520, body: "oops"},
			{fault: Fault{Kind: FaultStatus, Status: 429, RetryAfter: 1500 * time.Millisecond}, status: 429, body: `"status":429`},
			{fault: Fault{Kind: FaultEmpty}, status: 200},
			{fault: Fault{Kind: FaultHTML}, status: 200, body: "<html>"},
			{fault: Fault{Kind: FaultTruncated}, status: 200, body: brokenAnswer},
			{fault: Fault{Kind: FaultHuge, Size: 1 << 20}, status: 200, body: `AAAA","token_type"`},
			{fault: Fault{Kind: FaultWrongTypes}, status: 200, body: `"expires_in":"soon"`},
			{fault: Fault{Kind: FaultReset}},
			{fault: Fault{Kind: FaultResetAfterHeaders}, status: 200, broken: true},
			{fault: Fault{Kind: FaultHalfClose}, status: 200, broken: true},
			{fault: Fault{Kind: FaultSlow, Interval: time.Microsecond}, status: 200, body: `"refresh_token":"slow"`},
			{fault: Fault{Kind: FaultRedirect}, status: 307},
			{fault: Fault{Kind: FaultRedirect, Status: 302, Location: "https://other.invalid/"}, status: 302},
		} {
			s.SetFault(c.fault)
			got, err := send(client(t, http2), s, "POST", "/api/v1/token", "", strings.NewReader(form))
			if err != nil {
				if c.status != 0 {
					t.Errorf("%+v: %v", c.fault, err)
				} else if !http2 && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%+v: want a reset, got %v", c.fault, err)
				}
				continue
			}
			body, err := io.ReadAll(got.Body)
			got.Body.Close()
			if got.StatusCode != c.status || !strings.Contains(string(body), c.body) || (err != nil) != c.broken {
				t.Errorf("%+v http2=%t: %d %.200s %v", c.fault, http2, got.StatusCode, body, err)
			}
			if c.fault.RetryAfter != 0 && got.Header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After: %v", got.Header)
			}
			if c.status/100 == 3 && !strings.Contains(got.Header.Get("Location"), ".invalid/") {
				t.Errorf("Location: %v", got.Header)
			}
		}
	}
	if c := s.Counters(); c.TokenRequests != 28 || c.PasswordGrants != 28 || c.Logins != 0 || c.Refused != 0 {
		t.Errorf("%+v", c)
	}
}

func TestHangLastsUntilTheClientLeaves(t *testing.T) {
	s := started(t, VBR13)
	s.SetFault(Fault{Kind: FaultHang, On: OnToken | OnProtected | OnAnonymous})
	for _, http2 := range []bool{false, true} {
		for _, path := range []string{s.TokenPath(), "/api/v1/serverInfo", "/api/v1/serverTime"} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			r, _ := http.NewRequestWithContext(ctx, map[bool]string{true: "POST", false: "GET"}[path == s.TokenPath()], s.URL()+path, strings.NewReader("x"))
			if got, err := client(t, http2).Do(r); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v %v", path, got, err)
			}
			cancel()
		}
	}
}

func TestHoldLastsUntilTheFaultsAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(VBR13)
		s.SetFault(Fault{Kind: FaultHold, Count: 1})
		held := make(chan int, 1)
		go func() {
			held <- grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword).status
		}()
		synctest.Wait()
		if c := s.Counters(); len(held) != 0 || c.TokenRequests != 1 || c.Logins != 0 {
			t.Errorf("%d answers, %+v", len(held), c)
		}
		if got := grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword).status; got != http.StatusOK { // it is for one request
			t.Errorf("the second one: %d", got)
		}
		s.ClearFault()
		if got := <-held; got != http.StatusOK || s.Counters().Logins != 2 {
			t.Errorf("status %d, %+v", got, s.Counters())
		}
	})
}

func TestFaultsAreCountedAndAimed(t *testing.T) {
	s := New(VBR13)
	access, _ := defaultLogin(t, s)
	s.SetFault(
		Fault{Kind: FaultStatus, Status: 503, On: OnProtected, Match: "/jobs", Skip: 1, Count: 2},
		Fault{Kind: FaultStatus, Status: 502, On: OnAnonymous, Count: 1},
	)
	jobs := func() int { return do(s, "GET", "/api/v1/jobs", access, "").status }
	for i, want := range []int{200, 503, 503, 200} {
		if got := jobs(); got != want {
			t.Errorf("request %d: %d", i, got)
		}
	}
	if status(s, access) != 200 {
		t.Error("hit another route")
	}
	if a, b := do(s, "GET", "/api/v1/serverTime", "", "").status, do(s, "GET", "/api/v1/serverTime", "", "").status; a != 502 || b != 200 {
		t.Error(a, b)
	}
	s.SetFault(Fault{Kind: FaultEmpty, On: OnProtected})
	s.ClearFault()
	if jobs() != 200 {
		t.Error("ClearFault left a fault")
	}
}

func TestAFaultCanLoseTheAnswerOfWorkThatWasDone(t *testing.T) {
	s := New(VBR13)
	access, refresh := defaultLogin(t, s)
	s.SetFault(Fault{Kind: FaultStatus, Status: 502, On: OnToken | OnProtected, After: true})
	if got := do(s, "POST", "/api/v1/execute?op=x", access, "body"); got.status != 502 {
		t.Error(got.status)
	}
	if got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh); got.status != 502 {
		t.Error(got.status)
	}
	s.ClearFault()
	if grant(s, "grant_type=refresh_token", "refresh_token="+refresh).status == 200 {
		t.Error("the lost refresh did not use up the token")
	}
	if c := s.Counters(); c.Executed["x"] != 1 || c.Refreshes != 1 {
		t.Errorf("%+v", c)
	}
}

func TestConcurrentUse(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p, WithRevokeRandom(10, 1))
			done := make(chan bool)
			for range 8 {
				go func() {
					defer func() { done <- true }()
					access, refresh := "", ""
					for range 20 {
						if status(s, access) == 200 {
							continue
						}
						got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh)
						if got.status != 200 {
							got = grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword)
						}
						access, refresh = got.text(t, "access_token"), got.text(t, "refresh_token")
						s.SetPassword(DefaultUser, DefaultPassword)
						s.Counters()
						s.Seen()
						s.Issued()
					}
				}()
			}
			for range 8 {
				<-done
			}
			if c := s.Counters(); c.Logins != 8 || c.LiveSessions != 8 || c.Protected+c.Unauthorized != 160 || c.TokenRequests != c.Logins+c.Refreshes+c.Refused {
				t.Errorf("%+v", c)
			}
		})
	}
}
