// Two sites of one process, one of which forwards requests itself, and an upstream that
// notes what it gets and answers as it is told.

package forwarder_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
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

	_ "github.com/caddy-veeam/veeam-auth/caddymodule" // the module
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/test/harness/ports"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// caseID is the header by which the upstream knows what to answer.
const caseID = "X-Case"

// canary is a session of the upstream.
const canary = "canary-of-a-session"

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
	between  bool   // a handler is between veeam_auth and reverse_proxy
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
	if err := os.WriteFile(authority, clientCertificate(), 0o600); err != nil {
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
	if err := caddy.Load(l.asJSON(t, config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
}

// asJSON changes what a Caddyfile has become to what only a JSON configuration can have: the
// second site of each pair has the option forward auto even if reverse_proxy has options, and
// another handler is between the two where the pair says so.
func (l *lab) asJSON(t *testing.T, config []byte) []byte {
	t.Helper()
	var whole struct {
		Apps map[string]any `json:"apps"`
		Rest map[string]any `json:"-"`
	}
	if err := errors.Join(json.Unmarshal(config, &whole), json.Unmarshal(config, &whole.Rest)); err != nil {
		t.Fatal(err)
	}
	for _, server := range whole.Apps["http"].(map[string]any)["servers"].(map[string]any) {
		for _, p := range l.pairs {
			for i, port := range p.ports {
				if strings.Contains(fmt.Sprint(server), fmt.Sprintf(":%d]", port)) {
					p.change(server, i == 1)
				}
			}
		}
	}
	whole.Rest["apps"] = whole.Apps
	text, err := json.Marshal(whole.Rest)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// change changes the handlers veeam_auth below a node of a configuration.
func (p *pair) change(node any, forwards bool) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			p.change(child, forwards)
		}
	case map[string]any:
		for _, child := range node {
			p.change(child, forwards)
		}
		handlers, _ := node["handle"].([]any)
		for i, handler := range handlers {
			own := handler.(map[string]any)
			if own["handler"] != "veeam_auth" {
				continue
			}
			if forwards {
				own["forward"] = "auto"
			}
			if p.between {
				node["handle"] = slices.Insert(handlers, i+1, any(map[string]any{
					"handler": "headers", "response": map[string]any{"set": map[string]any{"X-Between": []string{"yes"}}},
				}))
			}
			return
		}
	}
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
		w.Header().Set("Set-Cookie", "session="+canary)
		w.WriteHeader(code)
		w.Header().Del("Link")
		w.Header().Del("Keep-Alive")
		w.Header().Del("Set-Cookie")
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
