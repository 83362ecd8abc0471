// What a server executes is what was decided: random requests go through a real
// Caddy, and what the emulated server has executed of them is held against what
// `caddy veeam-auth policy test` says.
//
//	go test ./caddymodule -run Differential -requests 1000000

package caddymodule

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/test/harness/ports"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

var (
	differentialRequests = flag.Int("requests", 6_000, "requests that the differential test in memory compares")
	differentialSeed     = flag.Uint64("seed", 0, "seed of the differential test; 0 for a new one")
)

// differentialSite is one site of the Caddyfile, with rules of one kind.
type differentialSite struct {
	product string
	before  string // directives before veeam_auth
	rules   string
	proxy   string // options of reverse_proxy in JSON, where the Caddyfile refuses them
	secure  bool   // with TLS, and so with HTTP/2 and HTTP/3

	handler http.Handler
	decides *Handler // as `policy test` prepares it
	port    int

	executed atomic.Int64
}

// rewritten reports whether something but the handler changes requests, so that
// `policy test` cannot be asked about what a client sends.
func (s *differentialSite) rewritten() bool { return s.before != "" || s.proxy != "" }

func differentialSites() []*differentialSite {
	const secrets = "deny operation secret destroy"
	sites := []*differentialSite{
		{product: "vbr", rules: "deny method POST PUT PATCH DELETE"},
		{product: "vbr", rules: "deny {\n\t\t\tmethod delete post\n\t\t\tpath /api/v1/*\n\t\t}"},
		{product: "vbr", rules: secrets},
		{product: "vbr", rules: "allow preset monitor"},
		{product: "vbr", rules: "allow operation read run\n\t\tdeny operation secret"},
		{product: "vbr", rules: "deny path /api/v1/credentials* /api/v1/encryptionPasswords*\n\t\tdeny path_regexp ^/api/v1/jobs/[^/]+$\n\t\tdeny query format=secret"},
		{product: "vbr", rules: "deny `method('DELETE') || path('/api/v1/credentials*') || {path}.startsWith('/api/v1/jobs')`"},
		{product: "vbr", rules: secrets, before: "uri strip_prefix /old"},
		{product: "vbr", rules: secrets, before: "@get path /api/v1/jobs*\n\tmethod @get DELETE\n\trewrite /short/* /api/v1/credentials"},
		{product: "vbr", rules: secrets, proxy: `{"rewrite":{"method":"DELETE"}}`},
		{product: "vbr", rules: secrets, proxy: `{"rewrite":{"uri_substring":[{"find":"jobs","replace":"credentials"}]}}`},
		{product: "vbr", rules: secrets, proxy: `{"headers":{"request":{"set":{"X-Http-Method-Override":["DELETE"],"X-Original-Url":["/api/v1/credentials"]}}}}`},
		{product: "azure", rules: secrets},
		{product: "azure", rules: "allow operation read"},
		{product: "azure", rules: "deny path /api/v8/*"},
		{product: "vbr", rules: secrets, secure: true},
		{product: "vbr", rules: "deny method POST PUT PATCH DELETE", secure: true},
		{product: "azure", rules: "deny path_regexp ^/api/v[0-9.]+/accounts"},
		{product: "em", rules: secrets},
		{product: "em", rules: "allow operation read run\n\t\tdeny operation secret"},
		{product: "em", rules: "deny operation change destroy secret"},
	}
	for _, name := range veeam.Names() { // the others
		if !slices.ContainsFunc(sites, func(s *differentialSite) bool { return s.product == name }) {
			sites = append(sites, &differentialSite{product: name, rules: secrets})
		}
	}
	return sites
}

// lab is a Caddy with sites, the servers behind them, and what those executed.
type lab struct {
	sites   []*differentialSite
	servers map[string]*veeamtest.Server

	log string // the file of the log

	mu       sync.Mutex
	executed map[string][]veeamtest.Executed // by request id

	unreadable                   atomic.Int64 // made up, but nothing that net/http takes for a request
	done, passed, refused, plain atomic.Int64
	selected                     atomic.Int64 // executed with a parameter that selects an operation
	differences                  atomic.Int64
}

// labID is a header that reaches the server and the log.
const labID = "X-Request-Id"

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{sites: differentialSites(), executed: make(map[string][]veeamtest.Executed)}
	note := veeamtest.WithObserver(func(x veeamtest.Executed) {
		id := x.Header.Get(labID)
		if id == "" {
			return // a login of the sidecar's own
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.executed[id] = append(l.executed[id], x)
	})
	l.servers = make(map[string]*veeamtest.Server)
	for _, profile := range veeamtest.Newest() {
		l.servers[profile.Product()] = veeamtest.New(profile, note, veeamtest.WithLooseReading(), veeamtest.WithFourEyes(false), veeamtest.WithTokenLimits(0, 0, 0))
	}
	for _, server := range l.servers {
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
	}
	l.start(t)
	return l
}

// start runs Caddy in this process.
func (l *lab) start(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(veeamtest.DefaultPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	l.log = filepath.Join(dir, "svc.log")
	var text strings.Builder
	fmt.Fprintf(&text, "{\n\tadmin off\n\tstorage file_system %s\n\tskip_install_trust\n\tauto_https disable_redirects\n\tlog {\n\t\toutput discard\n\t}\n\tlog svc {\n\t\tinclude http.handlers.veeam_auth.svc\n\t\toutput file %s\n\t\tformat svc_resapi {\n\t\t\trequest_id\n\t\t}\n\t}\n}\n",
		dir, l.log)
	free, err := ports.Free(len(l.sites))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range l.sites {
		s.port = free[i]
		address := "http://:%d {\n\tbind 127.0.0.1\n"
		if s.secure {
			address = "https://localhost:%d {\n\tbind 127.0.0.1\n\ttls internal\n"
		}
		fmt.Fprintf(&text, address+"\t%s\n%s}\n", s.port, s.before, l.block(s.product, secret, s.rules))
	}
	config := l.adapt(t, text.String())
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		t.Fatal(err)
	}
	l.find(t, app.(*caddyhttp.App), config)
}

func (l *lab) block(product, secret, options string) string {
	server := l.servers[product]
	return fmt.Sprintf("\tveeam_auth %s {\n\t\tproduct %s\n\t\ttls_pin %s\n\t\tpace off\n\t\taccount %s {file.%s}\n\t\t%s\n\t}\n",
		server.URL(), product, pinOf(server), veeamtest.DefaultUser, secret, options)
}

// adapt turns the Caddyfile into JSON and adds what a Caddyfile cannot say.
func (l *lab) adapt(t *testing.T, text string) []byte {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	for _, s := range l.sites {
		if s.proxy == "" {
			continue
		}
		var options map[string]any
		if err := json.Unmarshal([]byte(s.proxy), &options); err != nil {
			t.Fatal(err)
		}
		if !addToProxy(serverOf(config, s.port), options) {
			t.Fatalf("no reverse_proxy at port %d", s.port)
		}
	}
	adapted, err = json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return adapted
}

func serverOf(config map[string]any, port int) any {
	servers := config["apps"].(map[string]any)["http"].(map[string]any)["servers"].(map[string]any)
	for _, server := range servers {
		for _, listen := range server.(map[string]any)["listen"].([]any) {
			if strings.HasSuffix(listen.(string), fmt.Sprintf(":%d", port)) {
				return server
			}
		}
	}
	return nil
}

// addToProxy puts options into the first reverse_proxy below a node.
func addToProxy(node any, options map[string]any) bool {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			if addToProxy(child, options) {
				return true
			}
		}
	case map[string]any:
		if node["handler"] == "reverse_proxy" {
			maps.Copy(node, options)
			return true
		}
		for _, child := range node {
			if addToProxy(child, options) {
				return true
			}
		}
	}
	return false
}

// find takes the running servers, and for each what `policy test` asks.
func (l *lab) find(t *testing.T, app *caddyhttp.App, config []byte) {
	t.Helper()
	for _, s := range l.sites {
		for _, server := range app.Servers {
			if strings.HasSuffix(server.Listen[0], fmt.Sprintf(":%d", s.port)) {
				s.handler = server
			}
		}
		s.decides = explainer(t, config, s.port)
		if s.handler == nil {
			t.Fatalf("no server listens on port %d", s.port)
		}
	}
}

// says asks `policy test`. here reports that the request is answered by the
// sidecar itself, or sent without an account, so that it is the server's affair
// what becomes of it.
func (s *differentialSite) says(method, target string, known bool) (allowed, here bool) {
	r, err := ExplainRequest(method, target, http.Header{})
	if err != nil {
		return false, true
	}
	caller := policy.Caller{}
	if known {
		caller = policy.Caller{Name: string(policy.ViaLoopback), Via: policy.ViaLoopback}
	}
	x := s.decides.Explain(r, caller, known)
	here = !x.Ambiguous && x.Route != veeam.RouteClosed && (x.Route != veeam.RouteProtected || !known)
	return x.Refusal == nil, here
}

// check holds what was executed of one request against what `policy test` says.
func (l *lab) check(s *differentialSite, r *labRequest) (difference string) {
	l.mu.Lock()
	executed := l.executed[r.id]
	delete(l.executed, r.id)
	l.mu.Unlock()
	l.done.Add(1)
	if len(executed) == 0 {
		l.refused.Add(1)
	} else {
		l.passed.Add(1)
		s.executed.Add(1)
	}
	if len(executed) > 1 {
		return fmt.Sprintf("executed %d times", len(executed))
	}
	for _, x := range executed {
		target := x.Path
		if x.Query != "" {
			target += "?" + x.Query
		}
		// A HEAD is the GET without its body, for servers and rules alike.
		allowed, here := s.says(x.Method, escaped(target), r.known() || x.Subject == "")
		switch {
		case here && x.Subject != "", x.Token, givesTokens(x.Path):
			return fmt.Sprintf("executed %s %s, which is the sidecar's to answer", x.Method, target)
		case !allowed && x.Subject != "":
			return fmt.Sprintf("executed %s %s, which is denied", x.Method, target)
		case !r.known() && x.Subject != "":
			return fmt.Sprintf("executed %s %s with an account for a caller who is not known", x.Method, target)
		}
		pairs := readings(x)
		if len(pairs) > 0 {
			l.selected.Add(1)
		}
		for _, reading := range pairs {
			if allowed, _ := s.says(x.Method, escaped(x.Path+"?"+reading), r.known()); !allowed && x.Subject != "" {
				return fmt.Sprintf("executed %s %s, which may be %s?%s, and that is denied", x.Method, target, x.Path, reading)
			}
		}
	}
	if s.rewritten() || !r.plain() {
		return ""
	}
	l.plain.Add(1)
	// A fragment is nothing that a request can have: in its target, # is a character.
	allowed, here := s.says(r.method, "http://localhost"+strings.ReplaceAll(r.target, "#", "%23"), r.known())
	if allowed && !here && len(executed) == 0 {
		return "allowed, and not executed"
	}
	if !allowed && len(executed) > 0 && executed[0].Subject != "" {
		return fmt.Sprintf("denied, and executed as %s %s", executed[0].Method, executed[0].Path)
	}
	return ""
}

// readings are the parameters that select an operation of what was executed: as the
// server says, and as others would read its query.
func readings(x veeamtest.Executed) (pairs []string) {
	if _, selector, ok := strings.Cut(x.Operation, "?"); ok {
		pairs = append(pairs, selector)
	}
	for _, pair := range strings.FieldsFunc(x.Query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		name = strings.ToLower(strings.Trim(name, " ?"))
		if name = strings.TrimSuffix(name, "[]"); operation.Selecting(name+"=") != "" && value != "" {
			pairs = append(pairs, name+"="+value)
		}
	}
	return pairs
}

// givesTokens reports whether a path ends as those do that hand out or end
// sessions at one product or another.
func givesTokens(path string) bool {
	switch strings.ToLower(path[strings.LastIndexByte(path, '/')+1:]) {
	case "token", "login", "logout":
		return true
	}
	return false
}

// escaped is a decoded path as a request line has it.
func escaped(target string) string {
	path, query, found := strings.Cut(target, "?")
	var b strings.Builder
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`%"<>\^{}|`+"`", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	if found {
		b.WriteString("?" + query)
	}
	return "http://localhost" + b.String()
}

// run compares n requests that go through memory, and returns some of the
// differences. What is no request at all does not count.
func (l *lab) run(t *testing.T, n int, seed uint64) (differences []string) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	workers := 2 * runtime.GOMAXPROCS(0)
	for worker := range workers {
		wg.Go(func() {
			gen := newLabGenerator(seed, uint64(worker))
			for i := worker; i < n; i += workers {
				s := l.sites[i%len(l.sites)]
				r := gen.next(s)
				for !s.send(r) {
					l.unreadable.Add(1)
					r = gen.next(s)
				}
				if difference := l.check(s, r); difference != "" {
					l.differences.Add(1)
					mu.Lock()
					if len(differences) < 20 {
						differences = append(differences, fmt.Sprintf("%s\n\tsite: %s %s %s\n\trequest: %s", difference, s.before, s.rules, s.proxy, r))
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return differences
}

// send has the server of the site serve the request as if it had come over a
// connection. It reports false for what is no request at all.
func (s *differentialSite) send(r *labRequest) bool {
	req, err := r.parse()
	if err != nil {
		return false
	}
	ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.port}))
	defer func() {
		// The proxy ends a broken answer so; the net/http server catches it.
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			panic(p)
		}
	}()
	w := &discardingWriter{header: http.Header{}}
	s.handler.ServeHTTP(w, req.WithContext(ctx))
	r.status = w.status
	return true
}

// text is the request as HTTP/1.1 writes it.
func (r *labRequest) text(host string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nX-Api-Version: 1.3-rev0\r\n", r.method, r.target, host, labID, r.id)
	for _, h := range r.header {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if r.has("Transfer-Encoding") {
		fmt.Fprintf(&b, "\r\n%x\r\n%s\r\n0\r\n\r\n", len("body"), "body")
	} else {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(r.body), r.body)
	}
	return b.String()
}

// parse is the request as a server hands it on.
func (r *labRequest) parse() (*http.Request, error) {
	written := *r
	if r.connect != "" {
		written.method, written.target = http.MethodGet, "/"
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(written.text("localhost"))))
	if err != nil {
		return nil, err
	}
	req.RemoteAddr = r.remote
	if r.proto != "HTTP/1.1" {
		req.Proto, req.ProtoMajor, req.ProtoMinor = r.proto, int(r.proto[5]-'0'), 0
		req.Header.Del("Connection")
		if len(r.body) == 0 {
			req.Body = http.NoBody
		}
	}
	if r.connect != "" { // as the servers of HTTP/2 and HTTP/3 hand extended CONNECT on
		u, err := req.URL.Parse(r.target)
		if err != nil {
			return nil, err
		}
		req.Method, req.URL, req.RequestURI = http.MethodConnect, u, r.target
		if req.ProtoMajor == 3 {
			req.Proto = r.connect
		} else {
			req.Header[":protocol"] = []string{r.connect}
		}
	}
	return req, nil
}

func differentialSeedOf(t *testing.T) uint64 {
	t.Helper()
	seed := *differentialSeed
	for seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	return seed
}

// Not parallel: Caddy runs once in a process.
func TestDifferentialWhatIsExecutedIsWhatWasDecided(t *testing.T) {
	l := newLab(t)
	for _, difference := range l.run(t, *differentialRequests, differentialSeedOf(t)) {
		t.Error(difference)
	}
	t.Logf("%d sent and compared, %d executed (%d by a parameter), %d refused, %d compared in both directions, %d differences; %d more were no requests",
		l.done.Load(), l.passed.Load(), l.selected.Load(), l.refused.Load(), l.plain.Load(), l.differences.Load(), l.unreadable.Load())
	// A test in which nothing passes, or everything, would show nothing.
	if done := l.done.Load(); l.passed.Load() < done/10 || l.refused.Load() < done/10 || l.plain.Load() < done/20 || l.selected.Load() < done/1000 {
		t.Error("too few of a kind")
	}
	executed := make(map[string]int64)
	for _, s := range l.sites {
		executed[s.product] += s.executed.Load()
	}
	for _, name := range veeam.Names() {
		if executed[name] < l.done.Load()/400 {
			t.Errorf("%s: %d executed", name, executed[name])
		}
	}
	t.Logf("executed by product: %v", executed)
}

// The test can fail: without the one spelling of requests it finds what it is there
// to find.
//
// Not parallel: Caddy runs once in a process.
func TestDifferentialFindsWhatPassesWithoutTheOneSpelling(t *testing.T) {
	l := newLab(t)
	for _, s := range l.sites {
		s.decides.uncanonical = true
		for _, h := range handlersIn(s.handler.(*caddyhttp.Server).Routes) {
			h.uncanonical = true
		}
	}
	differences := l.run(t, 2000, differentialSeedOf(t))
	if l.differences.Load() < 20 {
		t.Errorf("%d differences", l.differences.Load())
	}
	for _, difference := range differences[:min(3, len(differences))] {
		t.Log(difference)
	}
}

// handlersIn are the handlers veeam_auth of routes.
func handlersIn(list caddyhttp.RouteList) (found []*Handler) {
	for _, route := range list {
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Handler:
				found = append(found, handler)
			case *caddyhttp.Subroute:
				found = append(found, handlersIn(handler.Routes)...)
			}
		}
	}
	return found
}

func pinOf(server *veeamtest.Server) string {
	sum := sha256.Sum256(server.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}
