// Faults that HTTP/2 has, as frames over real sockets: net/http sends again by itself what
// the server has not processed, and all requests share a connection.

package caddymodule

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

// frameServer speaks HTTP/2 in frames. It answers logins as a server of vbr does, other
// requests with an empty object, and either as it is told.
type frameServer struct {
	address, certificate string

	mu       sync.Mutex
	logins   frameFault // nil for none
	requests frameFault
	seen     map[string]int // by method and path
}

// frameFault is what a server does in place of an answer to a request that it has read.
type frameFault func(c *frameConn, stream uint32)

// frameConn is a connection to a frameServer.
type frameConn struct {
	net.Conn

	mu      sync.Mutex // of what follows
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

func newFrameServer(t *testing.T) *frameServer {
	t.Helper()
	certificate := certs.Issue(nil, &x509.Certificate{NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &frameServer{address: listener.Addr().String(), certificate: base64.StdEncoding.EncodeToString(certificate.Certificate[0]), seen: make(map[string]int)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close() })
	return s
}

// serve reads requests. The body of one is read to its end.
func (s *frameServer) serve(conn net.Conn) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	c := &frameConn{Conn: conn, framer: http2.NewFramer(conn, conn)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	c.write(func(f *http2.Framer) error { return f.WriteSettings() })
	read := make(map[uint32]*http2.MetaHeadersFrame)
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				c.write((*http2.Framer).WriteSettingsAck)
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				c.write(func(f *http2.Framer) error { return f.WritePing(true, frame.Data) })
			}
		case *http2.MetaHeadersFrame:
			read[frame.StreamID], ended = frame, frame.StreamEnded()
		case *http2.DataFrame:
			ended = frame.StreamEnded()
		}
		if stream := frame.Header().StreamID; ended {
			s.answer(c, stream, read[stream].PseudoValue("method"), read[stream].PseudoValue("path"))
		}
	}
}

func (s *frameServer) answer(c *frameConn, stream uint32, method, path string) {
	s.mu.Lock()
	fault, body := s.requests, "{}"
	switch path {
	case "/api/oauth2/token":
		fault, body = s.logins, `{"access_token":"token","token_type":"bearer","refresh_token":"refresh","expires_in":900}`
	case "/api/oauth2/logout":
		fault = nil
	}
	s.seen[method+" "+path]++
	s.mu.Unlock()
	if fault != nil {
		fault(c, stream)
		return
	}
	c.headers(stream, false, ":status", "200", "content-type", contentTypeJSON)
	c.write(func(f *http2.Framer) error { return f.WriteData(stream, true, []byte(body)) })
}

// behave sets the faults, and forgets what was seen.
func (s *frameServer) behave(logins, requests frameFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins, s.requests, s.seen = logins, requests, make(map[string]int)
}

func (s *frameServer) saw(method, path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[method+" "+path]
}

// write writes a frame. Whoever cannot be written to has gone.
func (c *frameConn) write(frame func(*http2.Framer) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = frame(c.framer)
}

func (c *frameConn) headers(stream uint32, ended bool, pairs ...string) {
	c.write(func(f *http2.Framer) error {
		c.block.Reset()
		for i := 0; i < len(pairs); i += 2 {
			_ = c.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndStream: ended, EndHeaders: true})
	})
}

// goAway says that no stream after last is looked at, and closes the connection where it
// has to.
func goAway(below uint32, code http2.ErrCode, closes bool) frameFault {
	return func(c *frameConn, stream uint32) {
		c.write(func(f *http2.Framer) error { return f.WriteGoAway(stream-min(below, stream), code, nil) })
		if closes {
			_ = c.Close()
		}
	}
}

func resets(code http2.ErrCode) frameFault {
	return func(c *frameConn, stream uint32) {
		c.write(func(f *http2.Framer) error { return f.WriteRSTStream(stream, code) })
	}
}

// frameFaults are what may have happened to a request that was carried out. notLookedAt
// are those in which the server says that it was not.
func frameFaults() (all, notLookedAt map[string]frameFault) {
	all = map[string]frameFault{
		"GOAWAY after it":           goAway(0, http2.ErrCodeNo, true),
		"GOAWAY with an error":      goAway(0, http2.ErrCodeInternal, true),
		"the end of the connection": func(c *frameConn, _ uint32) { _ = c.Close() },
		"an answer of HTTP/1.1":     func(c *frameConn, _ uint32) { _, _ = io.WriteString(c.Conn, "HTTP/1.1 200 OK\r\n\r\n") },
		"a header without a status": func(c *frameConn, stream uint32) { c.headers(stream, true, "content-type", "text/plain") },
		"data without a header": func(c *frameConn, stream uint32) {
			c.write(func(f *http2.Framer) error { return f.WriteData(stream, true, nil) })
		},
		"a line break in a header": func(c *frameConn, stream uint32) { c.headers(stream, true, ":status", "200", "x", "a\r\nb: c") },
		"two statuses":             func(c *frameConn, stream uint32) { c.headers(stream, true, ":status", "200", ":status", "401") },
		"too many interim answers": func(c *frameConn, stream uint32) {
			for range 1000 {
				c.headers(stream, false, ":status", "103", "link", strings.Repeat("x", 1000))
			}
			_ = c.Close()
		},
		"a promise": func(c *frameConn, stream uint32) {
			c.write(func(f *http2.Framer) error {
				return f.WritePushPromise(http2.PushPromiseParam{StreamID: stream, PromiseID: 2, BlockFragment: []byte{0x82}, EndHeaders: true})
			})
		},
	}
	for code := http2.ErrCodeNo; code <= http2.ErrCodeHTTP11Required; code++ {
		if code != http2.ErrCodeRefusedStream {
			all[fmt.Sprint("RST_STREAM ", code)] = resets(code)
		}
	}
	return all, map[string]frameFault{
		"RST_STREAM REFUSED_STREAM": resets(http2.ErrCodeRefusedStream),
		"GOAWAY before it":          goAway(1, http2.ErrCodeNo, false),
		"GOAWAY before it, the end": goAway(1, http2.ErrCodeNo, true),
		"GOAWAY of all, an error":   goAway(1<<30, http2.ErrCodeEnhanceYourCalm, true),
		"GOAWAY of all":             goAway(1<<30, http2.ErrCodeNo, false),
	}
}

// framedTransport trusts a frameServer.
func framedTransport(t *testing.T, s *frameServer) *Transport {
	t.Helper()
	return socketTransport(t, func(c *reverseproxy.TLSConfig) {
		c.CARaw = caddyconfig.JSONModuleObject(caddytls.InlineCAPool{TrustedCACerts: []string{s.certificate}}, "provider", "inline", nil)
	})
}

// sendTo sends a request to an upstream at an address.
func sendTo(t *testing.T, tr *Transport, address, method, path, body string) (status int, reason veeam.Reason, err error) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	state := &requestState{route: veeam.RouteProtected}
	var content io.Reader = http.NoBody
	if body != "" {
		content = strings.NewReader(body)
	}
	req := httptest.NewRequestWithContext(t.Context(), method, "https://"+address+path, content)
	req.RequestURI = ""
	if body == "" {
		req.Body = nil // as reverse_proxy and the forwarder send it
	}
	req = caddyhttp.PrepareRequest(req, caddy.NewReplacer(), nil, &caddyhttp.Server{})
	req = req.WithContext(dialing.To(req.Context(), reverseproxy.DialInfo{Network: "tcp", Address: address, Host: host, Port: port}))
	caddyhttp.SetVar(req.Context(), stateVar, state)
	state.decideFor(req)
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	if state.found.refused != nil {
		reason = state.found.refused.Reason
	}
	return res.StatusCode, reason, err
}

// Pace, budget and codes count on that.
func TestOverHTTP2ALoginIsSentOnceWhateverTheServerSays(t *testing.T) {
	t.Parallel()
	all, notLookedAt := frameFaults()
	maps.Copy(all, notLookedAt)
	for name, fault := range all {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			s := newFrameServer(t)
			tr := framedTransport(t, s)
			s.behave(fault, nil)
			status, reason, err := sendTo(t, tr, s.address, http.MethodGet, "/api/v1/jobs", "")
			if err != nil || status != http.StatusBadGateway || reason != veeam.ReasonUnreachable {
				t.Errorf("got %d %s, %v", status, reason, err)
			}
			if n := s.saw(http.MethodPost, "/api/oauth2/token"); n != 1 {
				t.Errorf("the password was sent %d times", n)
			}
		})
	}
}

func TestOverHTTP2NothingIsSentTwiceThatMayHaveBeenCarriedOut(t *testing.T) {
	t.Parallel()
	s := newFrameServer(t)
	tr := framedTransport(t, s)
	if status, reason, err := sendTo(t, tr, s.address, http.MethodGet, "/api/v1/jobs", ""); err != nil || status != http.StatusOK {
		t.Fatal(status, reason, err)
	}
	all, notLookedAt := frameFaults()
	for name, fault := range all {
		for _, c := range [][2]string{{http.MethodPost, ""}, {http.MethodPost, "{}"}, {http.MethodDelete, ""}, {http.MethodGet, ""}} {
			s.behave(nil, fault)
			status, reason, err := sendTo(t, tr, s.address, c[0], "/api/v1/jobs", c[1])
			if err == nil {
				t.Errorf("%s, %s %s: %d %s", name, c[0], c[1], status, reason)
			}
			if n := s.saw(c[0], "/api/v1/jobs"); n != 1 {
				t.Errorf("%s, %s %s: sent %d times", name, c[0], c[1], n)
			}
		}
	}
	for name, fault := range notLookedAt {
		if strings.HasPrefix(name, "RST") { // net/http waits longer each time, for a minute in all
			continue
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			s.behave(nil, fault)
			if status, reason, err := sendTo(t, tr, s.address, method, "/api/v1/jobs", ""); err == nil {
				t.Errorf("%s, %s: %d %s", name, method, status, reason)
			}
			if n := s.saw(method, "/api/v1/jobs"); n < 1 || n > 25 {
				t.Errorf("%s, %s: sent %d times", name, method, n)
			}
		}
	}
	s.behave(nil, nil)
	if status, reason, err := sendTo(t, tr, s.address, http.MethodPost, "/api/v1/jobs", "{}"); err != nil || status != http.StatusOK {
		t.Error(status, reason, err)
	}
	if n := s.saw(http.MethodPost, "/api/oauth2/token"); n != 0 {
		t.Errorf("%d logins: a session was lost", n)
	}
}

// Without the question whether the server is there, requests would be sent over a dead
// connection until TCP gives it up, for a quarter of an hour.
func TestAnHTTP2ConnectionThatGoesSilentIsLeft(t *testing.T) {
	t.Parallel()
	s := newFrameServer(t)
	tr := framedTransport(t, s)
	config := tr.HTTPTransport.Transport.HTTP2
	if config == nil || config.SendPingTimeout <= 0 || config.SendPingTimeout+config.PingTimeout > time.Minute {
		t.Fatalf("%+v", config)
	}
	config.SendPingTimeout, config.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
	if status, reason, err := sendTo(t, tr, s.address, http.MethodGet, "/api/v1/jobs", ""); err != nil || status != http.StatusOK {
		t.Fatal(status, reason, err)
	}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	s.behave(nil, func(*frameConn, uint32) { <-over }) // and reads no further
	if status, reason, err := sendTo(t, tr, s.address, http.MethodGet, "/api/v1/jobs", ""); err == nil {
		t.Error(status, reason)
	}
	s.behave(nil, nil)
	if status, reason, err := sendTo(t, tr, s.address, http.MethodGet, "/api/v1/jobs", ""); err != nil || status != http.StatusOK {
		t.Error(status, reason, err)
	}
}
