// Secrets in answers, through the handler and the transport: for whom they are
// taken out, and what is not passed at all.

package caddymodule

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/filter"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// chain is a handler, a transport and a server in memory.
type chain struct {
	*testing.T
	handler *Handler
	tr      *Transport
	wire    *wire
	server  *veeamtest.Server
	logs    *observer.ObservedLogs
	sent    []byte        // the last answer of the server, as it sent it
	asked   *http.Request // the last request that it got

	change func(*http.Request) // between handler and transport
}

// newChain has a handler of this configuration in front of Service Provider Console.
func newChain(t *testing.T, config string) *chain {
	t.Helper()
	server := veeamtest.New(veeamtest.VSPC)
	c := &chain{T: t, server: server, wire: &wire{to: server.Transport(), base: server.Base()}}
	c.tr = provisionInMemory(t, &Transport{
		Product: "vspc", Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: "{env.VEEAM_AUTH_TEST_PASSWORD}"}},
	}, c)
	t.Cleanup(func() { _ = c.tr.Cleanup(); c.tr.server.State.Settle() })

	c.handler = new(Handler)
	if err := json.Unmarshal([]byte(config), c.handler); err != nil {
		t.Fatal(err)
	}
	ctx := provisionContext(t, &caddy.Config{StorageRaw: []byte(`{"module": "file_system", "root": "` + t.TempDir() + `"}`)})
	if err := c.handler.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.handler.Cleanup() })
	c.handler.metrics = c.tr.metrics // of this chain alone: tests at the same time count, too
	c.handler.counts = c.handler.metrics.RequestCounts(c.handler.product.Name, c.handler.clients.Names())
	core, logs := observer.New(zapcore.InfoLevel)
	c.handler.logger, c.handler.svc, c.logs = zap.NewNop(), zap.New(core), logs
	return c
}

// RoundTrip is the way to the server, and takes down what passes.
func (c *chain) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := c.wire.RoundTrip(req)
	if err == nil && !forToken(req) && res.Body != nil && res.StatusCode != http.StatusSwitchingProtocols {
		c.asked = req
		c.sent, _ = io.ReadAll(res.Body)
		_ = res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(c.sent))
	}
	return res, err
}

// forToken is isGrant without the key services, which lie beside the grants.
func forToken(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/token") }

// reply is what a client gets.
type reply struct {
	*httptest.ResponseRecorder
	broken error // why the answer has ended early
}

// ask sends a request of a caller whom Caddy has authenticated under this name.
func (c *chain) ask(caller, method, path string, edit func(*http.Request)) reply {
	c.Helper()
	req := httptest.NewRequest(method, path, http.NoBody)
	req.RemoteAddr = "192.0.2.1:1"
	if edit != nil {
		edit(req)
	}
	req = prepared(req)
	req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", caller)
	got := reply{ResponseRecorder: httptest.NewRecorder()}
	err := c.handler.ServeHTTP(got, req, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		out := r.WithContext(dialing.To(r.Context(), reverseproxy.DialInfo{
			Network: "tcp", Address: "vspc01.lab.local:1280", Host: "vspc01.lab.local", Port: "1280",
		}))
		out.URL.Scheme, out.URL.Host, out.RequestURI = memoryScheme, "vspc01.lab.local:1280", ""
		if c.change != nil {
			c.change(out)
		}
		res, err := sendDecided(c, c.tr, out)
		if err != nil {
			return err
		}
		maps.Copy(w.Header(), res.Header)
		w.WriteHeader(res.StatusCode)
		_, got.broken = io.Copy(w, res.Body)
		return res.Body.Close()
	}))
	if err != nil {
		c.Fatal(err)
	}
	return got
}

// serve has the server answer everything but grants in this way.
func (c *chain) serve(status int, header http.Header, body string) {
	c.wire.intercept(func(req *http.Request) (*http.Response, error) {
		if forToken(req) {
			return nil, nil
		}
		res := canned(req, status, "", body)
		res.Header = header.Clone()
		return res, nil
	})
}

func (c *chain) said() string {
	var b strings.Builder
	for _, entry := range c.logs.All() {
		b.WriteString(entry.Message + "\n")
	}
	return b.String()
}

func TestTheSecretsOfTheServersOwnKeyServicesDoNotReachAMonitor(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {"except": ["caddy:admin"]}}`)
	for path, secrets := range map[string][]string{
		"/api/v3/authentication/keys/rsa?keySize=1024":                                {"privateKey"},
		"/api/v3/authentication/keys/rsa-pkcs12?subject=me&keySize=1024&password=pwd": {"privateKey"},
		"/api/v3/authentication/keys/totp-secret":                                     {"secret", "secretUrl"},
	} {
		got := c.ask("monitor", http.MethodGet, path, nil)
		var was struct{ Data map[string]json.RawMessage }
		if err := json.Unmarshal(c.sent, &was); err != nil || got.Code != http.StatusOK || got.broken != nil {
			t.Fatalf("%s: %d %v %v %s", path, got.Code, err, got.broken, got.Body)
		}
		want := string(c.sent)
		for _, name := range secrets {
			canary := string(was.Data[name])
			if len(canary) < 10 {
				t.Fatalf("%s has no %s: %s", path, name, c.sent)
			}
			want = strings.Replace(want, `"`+name+`":`+canary, `"`+name+`":"****"`, 1)
			if strings.Contains(got.Body.String(), canary) {
				t.Errorf("%s: the monitor gets %s", path, name)
			}
		}
		if got.Body.String() != want {
			t.Errorf("%s: got %s, want %s", path, got.Body, want)
		}
		if got := c.ask("admin", http.MethodGet, path, nil); got.Body.String() != string(c.sent) || got.Body.String() == want {
			t.Errorf("%s: the exempt caller gets %s", path, got.Body)
		}
	}
}

func TestARuleThatNamesTheClassSecretRevealsItsOperations(t *testing.T) {
	t.Parallel()
	const secret, read = "/api/v3/authentication/keys/totp-secret", "/api/v3/organizations/companies"
	const answer = `{"data":[{"password":"canary"}]}`
	for _, tc := range []struct {
		rules, path string
		filtered    bool
	}{
		{`[]`, secret, true},
		{`[{"effect": "allow"}]`, secret, true},
		{`[{"effect": "allow", "match": [{"path": ["/api/*"]}]}]`, secret, true},
		{`[{"effect": "allow", "match": [{"veeam_operation": {"classes": ["secret"]}}]}]`, secret, false},
		{`[{"effect": "allow", "match": [{"veeam_operation": {"classes": ["read", "secret"]}, "method": ["GET"]}]}]`, secret, false},
		{`[{"effect": "allow", "match": [{"veeam_operation": {"classes": ["read", "secret"]}}]}]`, read, true},
		{`[{"effect": "allow", "match": [{"path": ["/api/*"]}, {"veeam_operation": {"classes": ["secret"]}}]}]`, secret, true},
		{`[{"effect": "allow", "match": [{"not": [{"veeam_operation": {"classes": ["secret"]}}]}]}]`, read, true},
		{`[{"effect": "allow", "preset": "monitor"}]`, read, true},
		{`[{"effect": "deny", "shadow": true, "match": [{"veeam_operation": {"classes": ["secret"]}}]}, {"effect": "allow"}]`, secret, true},
	} {
		c := newChain(t, `{"product": "vspc", "filter_secrets": {}, "rules": `+tc.rules+`}`)
		c.serve(http.StatusOK, http.Header{"Content-Type": {contentTypeJSON}}, answer)
		got := c.ask("caller", http.MethodGet, tc.path, nil)
		if got.Code != http.StatusOK || strings.Contains(got.Body.String(), "canary") == tc.filtered {
			t.Errorf("%s %s: %d %s", tc.rules, tc.path, got.Code, got.Body)
		}
	}
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR and what shows"

const secretAnswer = `{"password": "canary", "n": 1.0}`

func TestAnswersThatCannotBeSearchedAreRefused(t *testing.T) {
	t.Parallel()
	const filtered = `{"password": "****", "n": 1.0}`
	for _, tc := range []struct {
		name, contentType, encoding string
		status                      int
		body, want                  string // want is empty for a refusal
	}{
		{"JSON", "application/json; charset=utf-8", "", 200, secretAnswer, filtered},
		{"a problem", "application/problem+json", "", 400, secretAnswer, filtered},
		{"identity", "application/json", "identity", 200, secretAnswer, filtered},
		{"gzip", "application/json", "gzip", 200, zipped(t, secretAnswer), filtered},
		{"gzip, otherwise written", "application/JSON", "X-GZip", 200, zipped(t, secretAnswer), filtered},
		{"gzip in two parts", "text/json", "gzip", 200, zipped(t, secretAnswer[:10]) + zipped(t, secretAnswer[10:]), filtered},
		{"no type", "-", "", 200, " " + secretAnswer, " " + filtered},
		{"no type, gzip", "-", "gzip", 200, zipped(t, secretAnswer), filtered},
		{"a list as text", "text/plain", "", 200, "[ " + secretAnswer + "]", "[ " + filtered + "]"},
		{"a picture", "image/png", "", 200, png, png},
		{"JSON as a download", "application/octet-stream", "", 200, secretAnswer, filtered},
		{"JSON as a page", "text/html", "", 200, secretAnswer, filtered},
		{"no body", "application/json", "br", 200, "", "-"},
		{"nothing", "application/json", "", 204, "", "-"},
		{"not modified", "application/json", "br", 304, "", "-"},

		{"br", "application/json", "br", 200, secretAnswer, ""},
		{"deflate", "application/json", "deflate", 200, secretAnswer, ""},
		{"zstd", "application/json", "zstd", 200, secretAnswer, ""},
		{"gzip twice", "application/json", "gzip, gzip", 200, zipped(t, zipped(t, secretAnswer)), ""},
		{"br, without a type", "-", "br", 200, secretAnswer, ""},
		{"UTF-16", "application/json; charset=utf-16", "", 200, secretAnswer, ""},
		{"a part", "application/json", "", 206, secretAnswer, ""},
		{"parts", "multipart/byteranges; boundary=x", "", 206, secretAnswer, ""},
		{"XML", "application/xml", "", 200, "<password>canary</password>", ""},
		{"a log", "text/plain", "", 200, "03.10.2022 canary", ""},
		{"a number", "text/plain", "", 200, "314159", ""},
		{"no type, no JSON", "-", "", 200, "PK canary", ""},
		{"a download", "application/octet-stream", "br", 200, secretAnswer, ""},
		{"a page", "text/html", "", 200, "<p>canary", ""},
		{"text as a picture", "image/png", "", 200, "canary", ""},
		{"a packed picture", "image/png", "gzip", 200, png, ""},
		{"SVG", "image/svg+xml", "", 200, "<svg>canary</svg>", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
			header := http.Header{
				"Content-Type": {tc.contentType}, "Content-Encoding": {tc.encoding}, "Etag": {`"1"`}, "Digest": {"x"},
				"Content-Length": {"32"}, "X-Kept": {"yes"},
			}
			if tc.contentType == "-" {
				delete(header, "Content-Type")
			}
			if tc.encoding == "" {
				delete(header, "Content-Encoding")
			}
			c.serve(tc.status, header, tc.body)
			got := c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil)
			switch body := got.Body.String(); {
			case tc.want == "":
				if got.Code != http.StatusBadGateway || !strings.Contains(body, `"errors":[{"message":"The server's answer cannot be searched`) || strings.Contains(body, "canary") {
					t.Errorf("got %d %s", got.Code, body)
				}
				if !strings.Contains(c.said(), "cannot be searched for secrets: it") {
					t.Errorf("the log does not say why: %s", c.said())
				}
			case got.Code != tc.status || body != strings.TrimPrefix(tc.want, "-") || got.broken != nil || got.Header().Get("X-Kept") != "yes":
				t.Errorf("got %d %q %v, want %q", got.Code, body, got.broken, tc.want)
			case body != tc.body:
				for name, allowed := range map[string]string{"Content-Length": strconv.Itoa(len(body)), "Content-Encoding": "identity", "Etag": "", "Digest": ""} {
					if value := got.Header().Get(name); value != "" && value != allowed {
						t.Errorf("%s is %q", name, value)
					}
				}
			case got.Header().Get("Etag") == "" && tc.contentType != "-" && tc.contentType != "text/plain":
				t.Error("an answer that was not touched has lost its ETag")
			}
		})
	}
}

func TestAnAnswerThatTurnsOutNotToBeJSONEndsThere(t *testing.T) {
	t.Parallel()
	long := `{"a":"` + strings.Repeat("x", 32<<10) + `"} `
	for name, tc := range map[string]struct {
		encoding, body, passed string
		want                   error
	}{
		"text":            {"", long + "canary", long, filter.ErrSyntax},
		"cut off":         {"", `{"a":"canary`, `{"a":"canary`, io.ErrUnexpectedEOF},
		"gzip is cut off": {"gzip", zipped(t, `{"password":"canary"}`)[:30], "", io.ErrUnexpectedEOF},
	} {
		c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
		header := http.Header{"Content-Type": {contentTypeJSON}, "Content-Encoding": {tc.encoding}}
		c.serve(http.StatusOK, header, tc.body)
		got := c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil)
		if !errors.Is(got.broken, tc.want) || tc.passed != "" && got.Body.String() != tc.passed || strings.Contains(got.Body.String(), `"canary"`) {
			t.Errorf("%s: %q %v", name, got.Body, got.broken)
		}
		if errors.Is(tc.want, filter.ErrSyntax) && !strings.Contains(c.said(), "The rest of the answer is not forwarded") {
			t.Errorf("%s: the log does not say why: %s", name, c.said())
		}
	}
}

func TestAShortAnswerThatTurnsOutNotToBeJSONIsRefused(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
	c.serve(http.StatusOK, http.Header{"Content-Type": {contentTypeJSON}}, `{"a":1} canary`)
	got := c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil)
	if got.Code != http.StatusBadGateway || got.broken != nil || strings.Contains(got.Body.String(), "canary") {
		t.Errorf("got %d %s, %v", got.Code, got.Body, got.broken)
	}
	if !strings.Contains(c.said(), "The answer is not forwarded, because it cannot be searched for secrets: the answer is not JSON at byte 8.") {
		t.Errorf("the log does not say why: %s", c.said())
	}
}

func TestTheServerIsAskedForWhatCanBeSearched(t *testing.T) {
	t.Parallel()
	for accepted, want := range map[string]string{
		"": "identity", "br": "identity", "gzip, br": "gzip", "br;q=1, GZIP;q=0.5": "gzip", "gzip;q=0, br": "identity", "gzip; q=0.0": "identity", "*": "identity",
	} {
		c := newChain(t, `{"product": "vspc", "filter_secrets": {"except": ["caddy:admin"]}}`)
		edit := func(r *http.Request) {
			if accepted != "" {
				r.Header.Set("Accept-Encoding", accepted)
			}
		}
		c.ask("monitor", http.MethodGet, "/api/v3/organizations", edit)
		if got := c.asked.Header.Get("Accept-Encoding"); got != want {
			t.Errorf("%q becomes %q, want %q", accepted, got, want)
		}
		c.ask("admin", http.MethodGet, "/api/v3/organizations", edit)
		if got := c.asked.Header.Get("Accept-Encoding"); got != accepted {
			t.Errorf("%q of an exempt caller becomes %q", accepted, got)
		}
	}
}

func TestTheServerIsAskedForJSONAndForTheWhole(t *testing.T) {
	t.Parallel()
	for accepted, want := range map[string]string{
		"": contentTypeJSON, "*/*": contentTypeJSON, "application/xml, */*;q=0.1": contentTypeJSON, "text/csv": contentTypeJSON,
		"application/json;odata=verbose, text/plain":               "application/json;odata=verbose",
		"image/png, image/svg+xml, Application/Problem+JSON;q=0.5": "image/png, Application/Problem+JSON;q=0.5",
	} {
		c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
		c.ask("monitor", http.MethodGet, "/api/v3/organizations", func(r *http.Request) {
			r.Header = http.Header{
				"Accept": {accepted}, "Range": {"bytes=1-"}, "If-Range": {"x"}, "Accept-Charset": {"utf-16"}, "Te": {"trailers"},
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "X-Kept": {"yes"},
			}
		})
		for name, want := range map[string]string{"Accept": want, "Range": "", "If-Range": "", "Accept-Charset": "", "Te": "", "Connection": "", "Upgrade": "", "X-Kept": "yes"} {
			if got := c.asked.Header.Get(name); got != want {
				t.Errorf("%q: %s is %q, want %q", accepted, name, got, want)
			}
		}
	}
}

// The length of the body without secrets, beside that of the server's, would tell theirs.
func TestTheAnswerToHEADTellsNothingOfTheBodyOfTheServer(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
	header := http.Header{"Content-Type": {contentTypeJSON}, "Content-Length": {"32"}, "Etag": {`"1"`}, "Content-Encoding": {"br"}}
	c.serve(http.StatusOK, header, "")
	got := c.ask("monitor", http.MethodHead, "/api/v3/organizations", nil)
	if got.Code != http.StatusOK || got.Header().Get("Content-Type") != contentTypeJSON || got.Header().Get("Content-Length") != "" || got.Header().Get("Etag") != "" {
		t.Errorf("HEAD: %d %v", got.Code, got.Header())
	}
}

func TestASecretThatNoNameTellsIsRefused(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {"except": ["caddy:admin"]}}`)
	c.serve(http.StatusOK, http.Header{"Content-Type": {contentTypeJSON}}, `{"data":"canary"}`)
	const path = "/api/v3/users/1/logins/apikey"
	if got := c.ask("monitor", http.MethodPost, path, nil); got.Code != http.StatusBadGateway || strings.Contains(got.Body.String(), "canary") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := c.ask("admin", http.MethodPost, path, nil); got.Code != http.StatusOK {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestTheTokensOfAClientAreNotFiltered(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
	got := c.ask("monitor", http.MethodPost, "/api/v3/token", func(r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader("grant_type=password&username=a&password=b"))
		r.ContentLength = -1
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	})
	if got.Code != http.StatusOK || !strings.Contains(got.Body.String(), `"access_token":"eyJ`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}
