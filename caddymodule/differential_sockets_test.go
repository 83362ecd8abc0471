// The same over real sockets: HTTP/1.1 as raw text, HTTP/2, and HTTP/3 with its
// extended CONNECT.

package caddymodule

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// socketRequests is how many requests each protocol gets.
const socketRequests = 600

// Not parallel: Caddy runs once in a process.
func TestDifferentialOverRealSockets(t *testing.T) {
	l := newLab(t)
	seed := differentialSeedOf(t)
	trust := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	second := &http2.Transport{TLSClientConfig: trust.Clone()} //nolint:staticcheck // it sends what net/http would not
	third := &http3.Transport{TLSClientConfig: trust.Clone()}
	t.Cleanup(func() {
		second.CloseIdleConnections() //nolint:staticcheck // see above
		_ = third.Close()
	})
	senders := map[string]func(*differentialSite, *labRequest) (int, error){
		"HTTP/1.1": sendText,
		"HTTP/2.0": func(s *differentialSite, r *labRequest) (int, error) { return sendBy(second, s, r) },
		"HTTP/3.0": func(s *differentialSite, r *labRequest) (int, error) { return sendBy(third, s, r) },
	}
	type sent struct {
		site    *differentialSite
		request *labRequest
	}
	var mu sync.Mutex
	var all []sent
	answered := make(map[string]int)
	var wg sync.WaitGroup
	for proto, send := range senders {
		sites := l.sites
		if proto != "HTTP/1.1" {
			sites = slices.DeleteFunc(slices.Clone(sites), func(s *differentialSite) bool { return !s.secure })
		}
		for worker := range 2 {
			wg.Go(func() {
				gen := newLabGenerator(seed, uint64(worker))
				gen.prefix = fmt.Sprintf("%s-%d-", proto, worker)
				for i := range socketRequests / 2 {
					s := sites[i%len(sites)]
					r := gen.next(s)
					if r.proto = proto; proto == "HTTP/1.1" && r.connect != "" {
						r.connect, r.method = "", http.MethodGet
					}
					r.remote = "127.0.0.1:1" // as it is
					status, err := send(s, r)
					r.lost = err != nil
					r.status = status
					mu.Lock()
					all = append(all, sent{s, r})
					if err == nil {
						answered[fmt.Sprint(proto, " ", status/100)]++
					} else {
						answered[proto+" no answer"]++
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	executed := make(map[string]int)
	logged := l.logged(t)
	for _, x := range all {
		for _, done := range l.executed[x.request.id] {
			if line := logged[x.request.id]; !sameRequest(line, done) {
				t.Errorf("executed %s %s, and logged as %s %s", done.Method, done.Path, line.Method, line.Path)
			}
		}
		before := l.passed.Load()
		if difference := l.check(x.site, x.request); difference != "" {
			t.Errorf("%s\n\tsite: %s %s %s\n\trequest: %s", difference, x.site.before, x.site.rules, x.site.proxy, x.request)
		}
		if l.passed.Load() > before {
			executed[x.request.proto]++
		}
	}
	t.Logf("answers: %v; executed: %v", answered, executed)
	for proto := range senders {
		if executed[proto] < socketRequests/10 || answered[proto+" 4"]-executed[proto] < socketRequests/20 {
			t.Errorf("%s: too few of a kind", proto)
		}
	}
}

// logged are the lines of requests in the log, by the id of the request.
func (l *lab) logged(t *testing.T) map[string]svclog.Record {
	t.Helper()
	file, err := os.Open(l.log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := make(map[string]svclog.Record)
	err = svclog.Read(t.Context(), file, svclog.Filter{}, func(r svclog.Record) error {
		if r.Kind == svclog.KindRequest {
			lines[r.RequestID] = r
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// sameRequest reports whether a line of the log is about what was executed. The
// log masks secrets: of the query, so that only the path counts, and what looks like
// one in the path, such as what follows "password:".
func sameRequest(line svclog.Record, done veeamtest.Executed) bool {
	path, _, _ := strings.Cut(line.Path, "?")
	path, err := url.PathUnescape(path)
	if err != nil || line.Method != done.Method {
		return false
	}
	logged := strings.ReplaceAll(regexp.QuoteMeta(strings.Trim(path, "/")), regexp.QuoteMeta(secret.Mask), ".*")
	same, err := regexp.MatchString("^(?s:"+logged+")$", strings.Trim(done.Path, "/"))
	return err == nil && same
}

// aLongTime is when a test gives up on what hangs.
const aLongTime = 2 * time.Minute

// sendText writes the request as it is.
func sendText(s *differentialSite, r *labRequest) (int, error) {
	address := fmt.Sprintf("127.0.0.1:%d", s.port)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	if s.secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(aLongTime))
	if _, err := io.WriteString(conn, r.text(fmt.Sprintf("localhost:%d", s.port))); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.ToUpper(r.method)})
	if err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols && r.method != http.MethodConnect {
		_, _ = io.Copy(io.Discard, res.Body)
	}
	return res.StatusCode, res.Body.Close()
}

// sendBy sends the request with a client of its protocol.
func sendBy(rt http.RoundTripper, s *differentialSite, r *labRequest) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), aLongTime)
	defer cancel()
	if !strings.HasPrefix(r.target, "/") || strings.HasPrefix(r.target, "//") { // which the clients do not send as it is
		return 0, errors.New("no path")
	}
	req := (&http.Request{
		Method: r.method, URL: &url.URL{Scheme: "https", Host: fmt.Sprintf("localhost:%d", s.port)}, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	req.Host = req.URL.Host
	path, query, _ := strings.Cut(r.target, "?")
	req.URL.Opaque, req.URL.RawQuery = path, query
	req.Header.Set(labID, r.id)
	req.Header.Set("X-Api-Version", "1.3-rev0")
	for _, h := range r.header {
		if name := http.CanonicalHeaderKey(h[0]); name != "Connection" && name != "Transfer-Encoding" && name != "Upgrade" && name != "Te" && name != "Http2-Settings" {
			req.Header.Add(name, h[1])
		}
	}
	if r.body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(r.body)), int64(len(r.body))
	}
	if r.connect != "" {
		req.Body, req.ContentLength = nil, 0
		if _, ok := rt.(*http3.Transport); ok {
			req.Proto = r.connect
		} else {
			req.Header[":protocol"] = []string{r.connect}
		}
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	if r.connect == "" {
		_, _ = io.Copy(io.Discard, res.Body)
	}
	return res.StatusCode, res.Body.Close()
}
