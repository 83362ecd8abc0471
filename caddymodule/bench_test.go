// What a request with a cached token costs: the transport over the bare HTTP
// transport, the handler over none at all. Nothing here touches a socket.

package caddymodule

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/caddymodule/logging"
	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
	"github.com/caddy-veeam/veeam-auth/internal/page"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// memoryScheme is the scheme under which provisionInMemory registers what
// stands for the network.
const memoryScheme = "mem"

// provisionInMemory provisions a transport whose requests end at upstream
// instead of on the network.
func provisionInMemory(tb testing.TB, tr *Transport, to http.RoundTripper) *Transport {
	tb.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel)
	if tr.storage == nil {
		tr.storage = inMemory(new(memorystore.Storage))
	}
	tr.process = cmp.Or(tr.process, newProcess())
	tr.HTTPTransport = &reverseproxy.HTTPTransport{TLS: new(reverseproxy.TLSConfig)}
	if err := tr.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	tr.server.Log = zap.NewNop()
	tr.HTTPTransport.Transport.RegisterProtocol(memoryScheme, to)
	return tr
}

// constantAnswer answers at once and, the answer itself apart, at no cost.
type constantAnswer struct{}

func (constantAnswer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: constantHeader, Body: http.NoBody}, nil
}

var constantHeader = http.Header{"Content-Type": {contentTypeJSON}}

// proxied is a request as reverse_proxy hands it to its transport: context,
// variables and headers as they are after its own work. Without a state it is a
// health check, which has no variables.
func proxied(ctx context.Context, state *requestState) *http.Request {
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, memoryScheme+"://vbr01.lab.local:9419/api/v1/jobs?limit=100", http.NoBody)
	req.RequestURI = ""
	for name, value := range map[string]string{
		"Accept": contentTypeJSON, "Accept-Encoding": "gzip", "User-Agent": "exporter/1.0", "Via": "1.1 Caddy",
		"X-Api-Version": "1.2-rev0", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost:9419", "X-Forwarded-Proto": "http",
	} {
		req.Header.Set(name, value)
	}
	if state != nil {
		req = caddyhttp.PrepareRequest(req, caddy.NewReplacer(), nil, &caddyhttp.Server{})
	}
	req = req.WithContext(dialing.To(req.Context(), reverseproxy.DialInfo{
		Network: "tcp", Address: "vbr01.lab.local:9419", Host: "vbr01.lab.local", Port: "9419",
	}))
	if state != nil {
		caddyhttp.SetVar(req.Context(), stateVar, state)
		state.decideFor(req)
	}
	return req
}

// decideFor has a request be the one that was decided about.
func (state *requestState) decideFor(req *http.Request) {
	state.found = new(found)
	state.sent = canonical.AsItIs(req)
}

// cachedTransport has logged in; from then on everything is answered at once.
func cachedTransport(tb testing.TB) *Transport {
	tb.Helper()
	server := veeamtest.New(veeamtest.VBR13)
	upstream := &switched{to: server.Transport()}
	tr := provisionInMemory(tb, &Transport{
		Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: "{env.VEEAM_AUTH_TEST_PASSWORD}"}},
	}, upstream)
	tb.Cleanup(func() {
		upstream.to = server.Transport()
		_ = tr.Cleanup()
		tr.server.State.Settle()
	})
	if err := roundTrip(tr, proxied(tb.Context(), &requestState{route: veeam.RouteProtected})); err != nil {
		tb.Fatal(err)
	}
	upstream.to = constantAnswer{}
	return tr
}

// switched changes what stands for the network.
type switched struct{ to http.RoundTripper }

func (s *switched) RoundTrip(req *http.Request) (*http.Response, error) { return s.to.RoundTrip(req) }

// roundTrip makes a request and reads the answer to its end.
func roundTrip(rt http.RoundTripper, req *http.Request) error {
	res, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

func BenchmarkTransport(b *testing.B) {
	tr := cachedTransport(b)
	req := proxied(b.Context(), &requestState{route: veeam.RouteProtected})
	for name, c := range map[string]struct {
		http.RoundTripper
		*http.Request
	}{"bare": {tr.HTTPTransport, req}, "cached": {tr, req}, "cached, of the forwarder": {tr, ofForwarder(proxied(b.Context(), &requestState{route: veeam.RouteProtected}))}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := roundTrip(c.RoundTripper, c.Request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Not parallel: allocations are counted for the process.
func TestACachedTokenCostsAtMostFiveAllocations(t *testing.T) {
	tr := cachedTransport(t)
	req := proxied(t.Context(), &requestState{route: veeam.RouteProtected})
	allocations := func(rt http.RoundTripper) float64 {
		return testing.AllocsPerRun(1000, func() {
			if err := roundTrip(rt, req); err != nil {
				t.Fatal(err)
			}
		})
	}
	bare, cached := allocations(tr.HTTPTransport), allocations(tr)
	if cached-bare > 5 {
		t.Errorf("%v allocations more than the bare transport", cached-bare)
	}
	if req = ofForwarder(req); allocations(tr)-bare > 0 {
		t.Errorf("%v allocations more than the bare transport, for a request of the forwarder", allocations(tr)-bare)
	}
}

// ofForwarder is a request as the forwarder hands it to its transport, for a documented
// operation without secrets.
func ofForwarder(req *http.Request) *http.Request {
	stateOf(req.Context()).operation.Class = operation.Read
	info, _ := reverseproxy.GetDialInfo(req.Context())
	made := req.WithContext(new(forwarder.Exchange).Context(req.Context(), info))
	made.Header = req.Header.Clone()
	return made
}

// benchHandler has the given logger for its lines.
func benchHandler(tb testing.TB, svc *zap.Logger, list ...*rules.Rule) *Handler {
	tb.Helper()
	ctx := provisionContext(tb, &caddy.Config{
		StorageRaw: []byte(`{"module": "file_system", "root": "` + tb.TempDir() + `"}`),
	})
	h := &Handler{Rules: list}
	if err := h.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = h.Cleanup() })
	h.logger, h.svc = zap.NewNop(), svc
	return h
}

// hundredRules are 99 that match no request of a benchmark, and one that allows it.
func hundredRules() (list []*rules.Rule) {
	for i := range 99 {
		path := []byte(fmt.Sprintf(`["/api/v1/none%d/*"]`, i))
		list = append(list, &rules.Rule{Effect: "deny", MatcherSetsRaw: caddyhttp.RawMatcherSets{{"path": path}}})
	}
	return append(list, &rules.Rule{Effect: "allow", Preset: "operate"})
}

func discardingLogger(b *testing.B) *zap.Logger {
	b.Helper()
	encoder := new(logging.SvcResAPIEncoder)
	if err := encoder.Provision(caddy.Context{}); err != nil {
		b.Fatal(err)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(io.Discard), zapcore.InfoLevel))
}

func BenchmarkHandler(b *testing.B) {
	answer := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	quiet := benchHandler(b, zap.NewNop())
	logging := benchHandler(b, discardingLogger(b))

	b.Run("none", func(b *testing.B) { serveMany(b, "", answer.ServeHTTP) })
	serve := func(h *Handler) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error { return h.ServeHTTP(w, r, answer) }
	}
	b.Run("log off", func(b *testing.B) { serveMany(b, "", serve(quiet)) })
	b.Run("log on", func(b *testing.B) { serveMany(b, "", serve(logging)) })
	b.Run("log off, 100 rules", func(b *testing.B) { serveMany(b, "", serve(benchHandler(b, zap.NewNop(), hundredRules()...))) })
	b.Run("log off, token of ours", func(b *testing.B) { serveMany(b, tokenOfOurs(b, quiet), serve(quiet)) })
}

// Not parallel: allocations are counted for the process.
func TestTheHandlerCostsAtMostFiveAllocations(t *testing.T) {
	h := benchHandler(t, zap.NewNop())
	answer := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	req := fromClient()
	w := &discardingWriter{header: http.Header{"Content-Type": {contentTypeJSON}}}
	allocations := func(serve func(http.ResponseWriter, *http.Request) error) float64 {
		return testing.AllocsPerRun(1000, func() {
			if err := serve(w, prepared(req)); err != nil || w.status != http.StatusOK {
				t.Fatal(w.status, err)
			}
		})
	}
	bare := allocations(answer.ServeHTTP)
	handled := allocations(func(w http.ResponseWriter, r *http.Request) error { return h.ServeHTTP(w, r, answer) })
	if handled-bare > 5 {
		t.Errorf("%v allocations more than without the handler", handled-bare)
	}
	h.LogTraceID = true
	if traced := allocations(func(w http.ResponseWriter, r *http.Request) error { return h.ServeHTTP(w, r, answer) }); traced > handled {
		t.Errorf("log_trace_id costs %v allocations", traced-handled)
	}
	provider := newIDP(t)
	h.TrustJWT = []*jwtcaller.Config{provider.config()}
	var err error
	if h.jwts, err = h.trust(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.jwts.Enter(keysRead))
	authorization := []string{"Bearer " + provider.token(t, nil)}
	if byJWT := allocations(func(w http.ResponseWriter, r *http.Request) error {
		r.Header["Authorization"] = authorization
		return h.ServeHTTP(w, r, answer)
	}); byJWT-bare > 5 {
		t.Errorf("a token of an identity provider: %v allocations more than without the handler", byJWT-bare)
	}
}

// serveMany sends the same request repeatedly, prepared each time as Caddy does
// it. What the handler removes from it is put back.
func serveMany(b *testing.B, token string, serve func(http.ResponseWriter, *http.Request) error) {
	b.Helper()
	req := fromClient()
	var authorization []string
	if token != "" {
		authorization = []string{"Bearer " + token}
	}
	w := &discardingWriter{header: http.Header{"Content-Type": {contentTypeJSON}}}
	b.ReportAllocs()
	for b.Loop() {
		if authorization != nil {
			req.Header["Authorization"] = authorization
		}
		if err := serve(w, prepared(req)); err != nil {
			b.Fatal(err)
		}
	}
	if w.status != http.StatusOK {
		b.Fatalf("status %d", w.status)
	}
}

// fromClient is a request over the loopback address.
func fromClient() *http.Request {
	req := httptest.NewRequest(http.MethodGet, "/api/v1/jobs?limit=100", http.NoBody)
	req.RemoteAddr, req.Host = "127.0.0.1:50000", "localhost:9419"
	for name, value := range map[string]string{
		"Accept": contentTypeJSON, "Accept-Encoding": "gzip", "User-Agent": "exporter/1.0", "X-Api-Version": "1.2-rev0",
	} {
		req.Header.Set(name, value)
	}
	return req
}

var benchServer caddyhttp.Server

// prepared is a request as Caddy hands it to its handlers.
func prepared(req *http.Request) *http.Request {
	return caddyhttp.PrepareRequest(req, caddy.NewReplacer(), nil, &benchServer)
}

// tokenOfOurs is an access token as the token endpoint gives it to a caller on
// this machine.
func tokenOfOurs(b *testing.B, h *Handler) string {
	b.Helper()
	req := prepared(fromClient())
	caller, refusal := h.identify(req, veeam.RouteToken, "")
	if refusal != nil {
		b.Fatal(refusal.Reason)
	}
	pair, err := h.issuer.Issue(req.Context(), h.subjectOf(req, &caller), h.audience(req), 0)
	if err != nil {
		b.Fatal(err)
	}
	return pair.Access
}

// discardingWriter keeps nothing but the status.
type discardingWriter struct {
	header http.Header
	status int
}

func (w *discardingWriter) Header() http.Header         { return w.header }
func (w *discardingWriter) WriteHeader(status int)      { w.status = status }
func (w *discardingWriter) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkPage sends requests with the page for operators on and off, by turns, and compares.
func BenchmarkPage(b *testing.B) {
	answer := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	off, on := benchHandler(b, discardingLogger(b)), benchHandler(b, discardingLogger(b))
	on.page = page.NewRecord()
	on.page.Open()
	on.svc = on.page.Tee(on.svc)
	req, w := fromClient(), &discardingWriter{header: http.Header{"Content-Type": {contentTypeJSON}}}
	const inATurn = 200
	var took [2]time.Duration
	sent := 0
	for b.Loop() {
		for i, h := range [2]*Handler{off, on} {
			began := time.Now()
			for range inATurn {
				if err := h.ServeHTTP(w, prepared(req), answer); err != nil {
					b.Fatal(err)
				}
			}
			took[i] += time.Since(began)
		}
		sent += inATurn
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(sent), "ns/request-off")
	b.ReportMetric(float64(took[1].Nanoseconds())/float64(sent), "ns/request-on")
	b.ReportMetric(float64(took[1])/float64(took[0]), "on/off")
}

// BenchmarkHasHash is what the check of a password costs: the hashes that `caddy hash-password` makes, and one of bcrypt
// with the least cost that Go's package takes by default.
func BenchmarkHasHash(b *testing.B) {
	for name, hash := range map[string]string{
		"bcrypt 14": "$2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6",
		"bcrypt 10": "$2a$10$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6",
		"argon2id":  "$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				hasHash(hash, "guess")
			}
		})
	}
}
