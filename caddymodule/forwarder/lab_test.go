// Two sites of one process, one of which forwards requests itself, and an upstream that
// notes what it gets and answers as it is told.

package forwarder_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter
	_ "github.com/caddyserver/caddy/v2/modules/standard"          // header, encode, tls
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"

	_ "github.com/caddy-veeam/veeam-auth/caddymodule" // the module
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/test/harness/ports"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// caseID is the header by which the upstream knows what to answer.
const caseID = "X-Case"

// placeholders are read when the answer is written.
const placeholders = "{http.reverse_proxy.status_code}|{http.reverse_proxy.status_text}|{http.reverse_proxy.header.X-A}|" +
	"{http.reverse_proxy.upstream.address}|{http.reverse_proxy.upstream.hostport}|{http.reverse_proxy.upstream.host}|" +
	"{http.reverse_proxy.upstream.port}|{http.reverse_proxy.upstream.max_requests}|{http.reverse_proxy.upstream.fails}|" +
	"{http.reverse_proxy.retries}|{http.reverse_proxy.duration}|{http.reverse_proxy.unknown}"

// pair are two sites that are the same but for the option forward.
type pair struct {
	name     string
	options  string // of veeam_auth
	before   string // directives before it
	around   string // the block that it is in
	trusts   bool   // proxies in front of it
	upstream []string

	ports [2]int // nested, forwarder
}

func pairs() []*pair {
	return []*pair{
		{name: "HTTP/2 upstream"},
		{name: "HTTP/1.1 upstream, behind a proxy", options: "transport http {\n\t\t\tversions 1.1\n\t\t}", trusts: true},
		{name: "HTTP/1.1 upstream, encoded", options: "transport http {\n\t\t\tversions 1.1\n\t\t}\n\t\tbase_path /base", before: "encode gzip\n\theader Server Mine\n\theader +Via before"},
		{name: "filtered", options: "filter_secrets"},
	}
}

// lab is a Caddy in this process with pairs of sites, and the upstream of all of them.
type lab struct {
	pairs []*pair
	cases sync.Map // *exchange by id
	url   string
	pin   string
	dir   string

	adminAddress string
}

func newLab(t *testing.T, all []*pair) *lab {
	t.Helper()
	l := &lab{pairs: all, dir: t.TempDir()}
	logins := veeamtest.New(veeamtest.VBR13, veeamtest.WithTokenLimits(0, 0, 0))
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path, r.RequestURI = strings.TrimPrefix(r.URL.Path, "/base"), strings.TrimPrefix(r.RequestURI, "/base")
		if strings.HasPrefix(r.URL.Path, "/api/oauth2/") && r.Header.Get(caseID) == "" {
			logins.ServeHTTP(w, r)
			return
		}
		found, ok := l.cases.Load(r.Header.Get(caseID))
		if !ok {
			http.Error(w, "unknown case", http.StatusTeapot)
			return
		}
		found.(*exchange).serve(w, r)
	}))
	upstream.EnableHTTP2 = true
	upstream.Config.ErrorLog = log.New(io.Discard, "", 0)
	upstream.StartTLS()
	t.Cleanup(upstream.Close)
	l.url, l.pin = upstream.URL, strings.ToLower(tlspin.SHA256(upstream.Certificate()).String())
	l.start(t)
	return l
}

func (l *lab) start(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", l.dir)
	t.Setenv("XDG_CONFIG_HOME", l.dir)
	secret := filepath.Join(l.dir, "secret")
	if err := os.WriteFile(secret, []byte(veeamtest.DefaultPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	authority := filepath.Join(l.dir, "clients.pem")
	if err := os.WriteFile(authority, clientCertificate(t), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := ports.Free(2*len(l.pairs) + 1)
	if err != nil {
		t.Fatal(err)
	}
	l.adminAddress = fmt.Sprintf("127.0.0.1:%d", free[2*len(l.pairs)])
	global := fmt.Sprintf("{\n\tadmin %s\n\tstorage file_system %s\n\tskip_install_trust\n\tauto_https disable_redirects\n\tlog {\n\t\toutput file %s\n\t\tlevel WARN\n\t}\n",
		l.adminAddress, l.dir, filepath.Join(l.dir, "log"))
	var sites strings.Builder
	for i, p := range l.pairs {
		for j, option := range []string{"nested", "auto"} {
			p.ports[j] = free[2*i+j]
			if p.trusts {
				global += fmt.Sprintf("\tservers 127.0.0.1:%d {\n\t\ttrusted_proxies static private_ranges\n\t}\n", p.ports[j])
			}
			to := l.url
			if len(p.upstream) > 0 {
				to = strings.Join(p.upstream, " ")
			}
			open, end := "", ""
			if p.around != "" {
				open, end = p.around+" {\n\t", "}\n\t"
			}
			options := strings.ReplaceAll(p.options, "%s", l.url)
			fmt.Fprintf(&sites, "https://localhost:%d {\n\tbind 127.0.0.1\n\ttls internal {\n\t\tclient_auth {\n\t\t\tmode verify_if_given\n\t\t\ttrust_pool file %s\n\t\t}\n\t}\n\theader >X-Placeholders \"%s\"\n\t%s\n\t%sveeam_auth %s {\n\t\tforward %s\n\t\ttls_pin %s\n\t\tpace off\n\t\taccount %s {file.%s}\n\t\t%s\n\t}\n\t%s}\n",
				p.ports[j], authority, placeholders, p.before, open, to, option, l.pin, veeamtest.DefaultUser, secret, options, end)
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(global+"}\n"+sites.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
}

// exchange is a request, the answer to it, and what became of both.
type exchange struct {
	id, proto string

	// The request.
	method, target string
	header         [][2]string
	body           []byte
	chunked        bool
	trailer        [][2]string

	// The answer.
	script script

	mu  sync.Mutex
	got []string // what the upstream got, as text
}

// script is an answer of the upstream.
type script struct {
	status    int
	header    [][2]string
	body      []byte
	writes    int // how often the body is written, with a flush after each but the last
	length    bool
	trailer   [][2]string
	announced bool // the trailer is
	info      []int
	ends      string // "" or what it does instead of ending: drop, abort, raw, hang
	raw       string // the answer as text, for HTTP/1.1
}

func (s *script) String() string {
	shown := *s
	shown.body = nil
	return fmt.Sprintf("body of %d bytes, %+v", len(s.body), shown)
}

// warm asks each site until it has a certificate and a session.
func (l *lab) warm(t *testing.T, pairs ...*pair) {
	t.Helper()
	for _, p := range pairs {
		for _, port := range p.ports {
			ok := func() bool {
				s := newSender("HTTP/1.1")
				defer s.close()
				x := &exchange{id: "warm", method: http.MethodGet, target: "/api/v1/jobs", script: script{status: http.StatusOK, length: true}}
				l.cases.Store(x.id, x)
				got, err := s.send(x, port)
				return err == nil && strings.HasPrefix(got.head, "HTTP/1.1 200")
			}
			for since := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
				if time.Since(since) > aLongTime {
					t.Fatalf("%s does not answer", p.name)
				}
			}
		}
	}
}

// serve notes the request and answers.
func (x *exchange) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s %s\nhost %s\nbody %d %x %v\n", r.Method, r.RequestURI, r.Proto, r.Host, len(body), body, err)
	if x.body != nil || x.proto != "HTTP/3" { // else net/http waits for some time whether there is one
		fmt.Fprintf(&text, "length %d %v\n", r.ContentLength, r.TransferEncoding)
	}
	header := r.Header.Clone()
	if len(header["Authorization"]) > 0 {
		header["Authorization"] = []string{"a token"}
	}
	writeHeader(&text, header)
	text.WriteString("trailers\n")
	writeHeader(&text, r.Trailer)
	x.mu.Lock()
	x.got = append(x.got, text.String())
	x.mu.Unlock()
	x.script.serve(w, r)
}

func writeHeader(text *strings.Builder, header http.Header) {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		values := header[name]
		if name == "Trailer" { // in no order
			values = strings.Split(strings.Join(values, ", "), ", ")
			slices.Sort(values)
		}
		fmt.Fprintf(text, "%s: %q\n", name, values)
	}
}

func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	for _, code := range s.info {
		w.Header().Set("Link", fmt.Sprintf("</%d>; rel=preload", code))
		w.Header().Set("Keep-Alive", "timeout=5")
		w.WriteHeader(code)
		w.Header().Del("Link")
		w.Header().Del("Keep-Alive")
	}
	switch {
	case s.ends == "hang":
		<-r.Context().Done()
		return
	case s.ends == "drop":
		panic(http.ErrAbortHandler)
	case s.ends == "raw" && r.ProtoMajor == 1:
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, s.raw)
			_ = conn.Close()
		}
		return
	}
	for _, h := range s.header {
		if r.ProtoMajor == 1 || h[0] != "Connection" { // net/http would end the connection of all
			w.Header().Add(h[0], h[1])
		}
	}
	if s.announced {
		for _, h := range s.trailer {
			w.Header().Add("Trailer", h[0])
		}
	}
	if s.length {
		announced := len(s.body)
		if s.ends == "abort" {
			announced += 10 // else the answer is complete, and the connection that is closed may be used again
		}
		w.Header().Set("Content-Length", fmt.Sprint(announced))
	}
	w.WriteHeader(s.status)
	flush := http.NewResponseController(w).Flush
	if !s.length {
		_ = flush()
	}
	parts := max(s.writes, 1)
	for i := range parts {
		_, _ = w.Write(s.body[len(s.body)*i/parts : len(s.body)*(i+1)/parts])
		if i+1 < parts {
			_ = flush()
		}
	}
	if s.ends == "abort" {
		_ = flush()
		panic(http.ErrAbortHandler)
	}
	for _, h := range s.trailer {
		name := h[0]
		if !s.announced {
			name = http.TrailerPrefix + name
		}
		w.Header().Add(name, h[1])
	}
}

// received is what a client has got, as text, with the body apart.
type received struct {
	head, info string
	body       []byte
	trailer    string
	failed     bool // before the end of the body
	err        error
}

func receivedFrom(res *http.Response, info string) received {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.Header.Get("Content-Encoding") == "gzip" { // where it is flushed is chance
		if unpacked, gzipErr := gzip.NewReader(bytes.NewReader(body)); gzipErr == nil {
			body, _ = io.ReadAll(unpacked)
		}
	}
	var head, trailer strings.Builder
	header := res.Header.Clone()
	delete(header, "Date")
	fmt.Fprintf(&head, "%s %d length %d %v close %t\n", res.Proto, res.StatusCode, res.ContentLength, res.TransferEncoding, res.Close)
	writeHeader(&head, header)
	writeHeader(&trailer, res.Trailer)
	return received{head: head.String(), info: info, body: body, trailer: trailer.String(), failed: err != nil}
}

// sender sends requests in a version of HTTP.
type sender interface {
	send(x *exchange, port int) (received, error)
	close()
}

const siteName = "localhost:9419" // as clients say: the same for both sites

// trust is what clients use for TLS. They have a certificate, so that the headers of
// proxies leave them known.
var trust = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}

// clientCertificate makes the certificate of the clients and returns it.
func clientCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tester"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	trust.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

const aLongTime = time.Minute

// textSender sends HTTP/1.1 as text, over a connection to each port.
type textSender struct{ conns map[int]*textConn }

type textConn struct {
	net.Conn
	*bufio.Reader
}

func (s *textSender) send(x *exchange, port int) (got received, err error) {
	for try := range 2 {
		reused := s.conns[port] != nil
		if got, err = s.try(x, port); err == nil || !reused || try == 1 {
			return got, err
		}
		x.forget() // the connection may have been closed before the request
	}
	return got, err
}

func (s *textSender) try(x *exchange, port int) (received, error) {
	conn := s.conns[port]
	if conn == nil {
		config := trust.Clone()
		config.NextProtos = []string{"http/1.1"}
		to, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), config)
		if err != nil {
			return received{}, err
		}
		conn = &textConn{to, bufio.NewReader(to)}
		s.conns[port] = conn
	}
	_ = conn.SetDeadline(time.Now().Add(aLongTime))
	drop := func() {
		_ = conn.Close()
		delete(s.conns, port)
	}
	if _, err := io.WriteString(conn, x.text()); err != nil {
		drop()
		return received{}, err
	}
	info := ""
	for {
		res, err := http.ReadResponse(conn.Reader, &http.Request{Method: x.method})
		if err != nil {
			drop()
			return received{}, err
		}
		if res.StatusCode == http.StatusContinue {
			continue // that of the upstream and that of the site may be one or two
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			var text strings.Builder
			writeHeader(&text, res.Header)
			info += fmt.Sprint(res.StatusCode, " ", text.String())
			continue
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			drop()
		}
		got := receivedFrom(res, info)
		if got.failed || res.Close {
			drop()
		}
		return got, nil
	}
}

// text is the request in HTTP/1.1.
func (x *exchange) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n", x.method, x.target, siteName, caseID, x.id)
	for _, h := range x.header {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	switch {
	case x.chunked:
		for _, h := range x.trailer {
			fmt.Fprintf(&b, "Trailer: %s\r\n", h[0])
		}
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if len(x.body) > 0 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(x.body), x.body)
		}
		b.WriteString("0\r\n")
		for _, h := range x.trailer {
			fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		}
	case x.body != nil:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(x.body), x.body)
		return b.String()
	}
	b.WriteString("\r\n")
	return b.String()
}

func (s *textSender) close() {
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// clientSender sends with a client of HTTP/2 or HTTP/3.
type clientSender struct {
	http.RoundTripper
	end func()
}

func (s *clientSender) close() { s.end() }

func (s *clientSender) send(x *exchange, port int) (received, error) {
	return s.sendIn(context.Background(), x, port)
}

func (s *clientSender) sendIn(ctx context.Context, x *exchange, port int) (received, error) {
	ctx, cancel := context.WithTimeout(ctx, aLongTime)
	defer cancel()
	info := ""
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		var text strings.Builder
		writeHeader(&text, http.Header(header))
		if code != http.StatusContinue { // see textSender
			info += fmt.Sprint(code, " ", text.String())
		}
		return nil
	}})
	req := (&http.Request{
		Method: x.method, Header: http.Header{caseID: {x.id}}, Host: siteName, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{Scheme: "https", Host: fmt.Sprintf("localhost:%d", port)},
	}).WithContext(ctx)
	req.URL.Opaque, req.URL.RawQuery, _ = strings.Cut(x.target, "?")
	for _, h := range x.header {
		switch name := http.CanonicalHeaderKey(h[0]); name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade":
		default:
			req.Header.Add(name, h[1])
		}
	}
	if x.body != nil {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(x.body))), int64(len(x.body))
	}
	if x.chunked {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(x.body))), -1
		for _, h := range x.trailer {
			if req.Trailer == nil {
				req.Trailer = http.Header{}
			}
			req.Trailer.Add(h[0], h[1])
		}
	}
	res, err := s.RoundTrip(req)
	if err != nil {
		return received{}, err
	}
	return receivedFrom(res, info), nil
}

func newSender(proto string) sender {
	switch proto {
	case "HTTP/2":
		second := &http2.Transport{TLSClientConfig: trust.Clone()} //nolint:staticcheck // it sends what net/http would not
		return &clientSender{second, second.CloseIdleConnections}  //nolint:staticcheck // see above
	case "HTTP/3":
		third := &http3.Transport{TLSClientConfig: trust.Clone()}
		return &clientSender{third, func() { _ = third.Close() }}
	}
	return &textSender{make(map[int]*textConn)}
}

func (x *exchange) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.got = nil
}

func (x *exchange) take() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	got := x.got
	x.got = nil
	return got
}

// metric is the value of a series of the running Caddy, 0 if there is none.
func (l *lab) metric(t *testing.T, series string) (value float64) {
	t.Helper()
	for line := range strings.Lines(l.admin(t, "/metrics")) {
		if rest, found := strings.CutPrefix(line, series+" "); found {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return value
}

// admin asks the admin endpoint.
func (l *lab) admin(t *testing.T, path string) string {
	t.Helper()
	res, err := http.Get("http://" + l.adminAddress + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
