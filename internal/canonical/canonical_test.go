package canonical

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// arrived is a request as net/http hands it over: it checks neither the letters of
// a method nor those of a query.
func arrived(method, target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Method, r.RequestURI = method, target
	path, query, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path
	}
	r.URL = &url.URL{Path: decoded, RawPath: path, RawQuery: query}
	return r
}

func TestARequestHasOneSpelling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, target, want string }{
		{"GET", "/api/v1/jobs?skip=0", "GET /api/v1/jobs?skip=0"},
		{"delete", "/api/v1//jobs/%35", "DELETE /api/v1/jobs/5"},
		{"PoSt", "/api/v1/x/../jobs?%66ormat=a;b", "POST /api/v1/jobs?format=a%3Bb"},
		{"HEAD", "/API/V1/Jobs/?Skip=0", "HEAD /API/V1/Jobs/?Skip=0"},
		{"options", "/api/v1/jobs", "OPTIONS /api/v1/jobs"},
		{"TRACE", "/api/v1/jobs", "405"},
		{"track", "/api/v1/jobs", "405"},
		{"CONNECT", "/api/v1/jobs", "405"},
		{"PROPFIND", "/api/v1/jobs", "405"},
		{"GEt\u017f", "/api/v1/jobs", "405"},
		{"GET", "/api/v1/jobs%2f5", "400"},
		{"GET", "/api/v01/jobs", "400"},
		{"GET", "/api/v1/jobs?a=%zz", "400"},
		{"GET", "/api/v1/jobs?format=a&Format=b", "400"},
		{"POST", "/api/v1/jobs?_method=DELETE", "400"},
	} {
		product, _ := veeam.Lookup("vbr")
		r := arrived(c.method, c.target)
		s, refusal := Make(r, nil)
		got := s.Method + " " + s.Target()
		if refusal != nil {
			got = http.StatusText(product.Status(*refusal))
			if c.want != "405" && c.want != "400" {
				t.Errorf("%s %s: refused with %+v", c.method, c.target, refusal)
			}
			c.want = map[string]string{"405": "Method Not Allowed", "400": "Bad Request"}[c.want]
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.target, got, c.want)
		}
	}
}

func TestOnlyAWebsocketIsAnUpgrade(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, connection string
		upgrade            []string
		want               bool
	}{
		{"GET", "Upgrade", []string{"websocket"}, true},
		{"get", "keep-alive, upgrade", []string{"WebSocket"}, true},
		{"GET", "Upgrade", []string{"h2c"}, false},
		{"GET", "Upgrade, HTTP2-Settings", []string{"h2c"}, false},
		{"GET", "Upgrade", []string{"websocket, h2c"}, false},
		{"GET", "Upgrade", []string{"h2c", "websocket"}, false},
		{"GET", "Upgrade", []string{"websocket", "h2c"}, false},
		{"GET", "Upgrade", []string{""}, false},
		{"GET", "Upgrade", []string{"TLS/1.3"}, false},
		{"POST", "Upgrade", []string{"websocket"}, false},
		{"GET", "close", []string{"websocket"}, false},
		{"GET", "", nil, false},
	} {
		r := arrived(c.method, "/api/v1/x")
		r.Header = http.Header{"Connection": {c.connection}, "Upgrade": c.upgrade, "Http2-Settings": {"x"}}
		if c.upgrade == nil {
			delete(r.Header, "Upgrade")
		}
		s, refusal := Make(r, nil)
		if refusal != nil || s.Websocket != c.want || (len(r.Header["Upgrade"]) > 0) != c.want || c.want && r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("%+v: %+v %v %v", c, s, r.Header, refusal)
		}
	}
}

func TestAnExtendedConnectIsTheGETThatIsMadeOfIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		major    int
		protocol string
		want     bool
	}{
		{3, "websocket", true}, {2, "websocket", true}, {1, "websocket", false}, {3, "webtransport", false}, {2, "connect-udp", false}, {3, "HTTP/3.0", false}, {2, "", false},
	} {
		r := arrived(http.MethodConnect, "/api/v1/credentials")
		r.ProtoMajor, r.Proto = c.major, "HTTP/2.0"
		if c.major == 3 {
			r.Proto = c.protocol
		} else if c.protocol != "" {
			r.Header[":protocol"] = []string{c.protocol}
		}
		s, refusal := Make(r, nil)
		if c.want && (refusal != nil || s.Method != http.MethodGet || !s.Websocket || r.Method != http.MethodConnect) {
			t.Errorf("%+v: %+v %v", c, s, refusal)
		}
		if !c.want && (refusal == nil || refusal.Reason != veeam.ReasonMethodNotAllowed) {
			t.Errorf("%+v: %+v is let through", c, s)
		}
	}
}

func TestASecretInAnUpgradeThatIsRemovedIsReported(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"Upgrade", "vak_0123456789abcdefghijABCDEFGHIJ012345", true},
		{"Http2-Settings", "vak_0123456789abcdefghijABCDEFGHIJ012345", true},
		{"Upgrade", "h2c", false},
	} {
		r := arrived("GET", "/api/v1/jobs")
		r.Header["Upgrade"] = []string{"h2c"}
		r.Header[c.name] = []string{c.value}
		if decided, refusal := Make(r, nil); refusal != nil || decided.Hid != c.want || len(r.Header["Upgrade"]) > 0 {
			t.Errorf("%s: %s: %+v, %v", c.name, c.value, decided, refusal)
		}
	}
}

// wild is a request of pieces in which readers differ.
var wild = rapid.Custom(func(t *rapid.T) *http.Request {
	piece := rapid.SampledFrom([]string{
		"/", "//", ".", "..", "%2e", "%2f", "%5c", `\`, ";", "api", "API", "v1", "v01", "v1.0", "jobs", "Jobs", "%6Aobs", "%256a", "\u00e9", "%C3%A9", "\u212a", "%00", " ", "%20", "+", "a", "credentials",
	})
	part := rapid.SampledFrom([]string{
		"format", "Format", "%66ormat", "=", "&", ";", "secret", "%", "%26", "%zz", "+", "_method", "\u00e9", "#", "%00", "{",
	})
	letter := rapid.SampledFrom([]string{"GET", "get", "Post", "DELETE", "dELETE", "PUT", "patch", "HEAD", "TRACE", "connect", "CONNECT", "FOO", "\u017f"})
	r := arrived(letter.Draw(t, "method"), "/"+strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "path"), "")+"?"+strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "query"), ""))
	if upgrade := rapid.SliceOfN(rapid.SampledFrom([]string{"websocket", "h2c", "WebSocket", ""}), 0, 2).Draw(t, "upgrade"); len(upgrade) > 0 {
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, upgrade
	}
	return r
})

// TestACanonicalRequestStaysAsItIs holds that a decided request is stable: made
// canonical once more it is the same, and what is sent of it is what was decided.
func TestACanonicalRequestStaysAsItIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := wild.Draw(t, "request")
		first, refusal := Make(r, nil)
		if refusal != nil {
			return
		}
		if first.Method != r.Method || first.Path != r.URL.EscapedPath() || first.Query != r.URL.RawQuery || first.Target() != r.URL.RequestURI() && r.URL.RawQuery != "" {
			t.Fatalf("%+v is decided, %s %s would be sent", first, r.Method, r.URL.RequestURI())
		}
		if !slices.Contains(strings.Split(operation.AllowedMethods, ", "), first.Method) {
			t.Fatalf("method %q", first.Method)
		}
		header := r.Header.Clone()
		again, refusal := Make(r, nil)
		if refusal != nil || again != first || len(header["Upgrade"]) != len(r.Header["Upgrade"]) {
			t.Fatalf("%+v becomes %+v, %+v", first, again, refusal)
		}
	})
}

func TestAnyDifferenceFromWhatWasDecidedIsFound(t *testing.T) {
	for want, change := range map[string]func(*http.Request){
		"":                              func(*http.Request) {},
		"method":                        func(r *http.Request) { r.Method = http.MethodDelete },
		"path":                          func(r *http.Request) { r.URL.Path = "/api/v1/credentials" },
		"query":                         func(r *http.Request) { r.URL.RawQuery = "" },
		"header Upgrade":                func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
		"header X-Http-Method-Override": func(r *http.Request) { r.Header.Set("X-Http-Method-Override", "DELETE") },
	} {
		r := arrived("get", "/api/v1//jobs?limit=1")
		decided, refusal := Make(r, nil)
		if refusal != nil {
			t.Fatal(refusal)
		}
		change(r)
		if got := decided.Mismatch(r); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
	r := arrived("GET", "/api/v1/jobs")
	decided, _ := Make(r, nil)
	if r.URL.Opaque = "//elsewhere/api/v1/jobs"; decided.Mismatch(r) != "path" {
		t.Error("an opaque URL is the decided path")
	}
}

func TestRulesSeeARequestAsServersReadIt(t *testing.T) {
	for _, tt := range []struct {
		target string
		fold   bool
		want   string
	}{
		{"/API/v1/Jobs/?Skip=A", false, "/API/v1/Jobs?Skip=A"},
		{"/API/v1/Jobs/?Skip=A", true, "/api/v1/jobs?skip=a"},
		{"/", false, "/"},
	} {
		r := arrived("get", tt.target)
		decided, _ := Make(r, nil)
		r.Method = http.MethodConnect // as that of an extended one stays
		restore := decided.Show(r, tt.fold)
		if got := r.URL.RequestURI(); got != tt.want || r.Method != http.MethodGet {
			t.Errorf("%s: %s %s, want %s", tt.target, r.Method, got, tt.want)
		}
		if restore(); r.URL.RequestURI() != decided.Target() || r.Method != http.MethodConnect {
			t.Errorf("%s becomes %s %s", tt.target, r.Method, r.URL.RequestURI())
		}
	}
}
