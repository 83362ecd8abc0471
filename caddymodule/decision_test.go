package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// gets serves a fixed answer and tells whether the server was asked.
func (c *chain) gets(status int, header http.Header, body string) *int {
	asked := 0
	c.wire.answer = func(req *http.Request) (*http.Response, error) {
		if forToken(req) {
			return nil, nil //nolint:nilnil // the emulator answers
		}
		asked++
		header := header.Clone()
		if header == nil {
			header = http.Header{}
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: req}, nil
	}
	return &asked
}

func TestWhatIsSentIsWhatWasDecidedAbout(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*http.Request){
		"the method":           func(r *http.Request) { r.Method = http.MethodDelete },
		"a method's case":      func(r *http.Request) { r.Method = "get" },
		"the path":             func(r *http.Request) { r.URL.Path = "/api/v3/token" },
		"its escapes":          func(r *http.Request) { r.URL.RawPath = "/api/v3/%6Frganizations" },
		"the query":            func(r *http.Request) { r.URL.RawQuery = "a=2" },
		"an opaque URL":        func(r *http.Request) { r.URL.Opaque = "//elsewhere/x" },
		"an override":          func(r *http.Request) { r.Header.Set("X-Http-Method-Override", "DELETE") },
		"an override, spelled": func(r *http.Request) { r.Header["X_http_method_override"] = []string{"DELETE"} },
		"an upgrade":           func(r *http.Request) { r.Header.Set("Upgrade", "h2c") },
		"a websocket":          func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, `{"product": "vspc"}`)
			asked := c.gets(http.StatusOK, nil, "{}")
			before := testutil.ToFloat64(c.tr.metrics.Mismatches.WithLabelValues("vspc"))
			c.change = change
			got := c.ask("monitor", http.MethodGet, "/api/v3/organizations?a=1", nil)
			if got.Code != 520 || !strings.Contains(got.Body.String(), string(veeam.ReasonDecisionMismatch)) || *asked != 0 {
				t.Errorf("%d %s, asked %d times", got.Code, got.Body, *asked)
			}
			if after := testutil.ToFloat64(c.tr.metrics.Mismatches.WithLabelValues("vspc")); after != before+1 {
				t.Errorf("counted %v times", after-before)
			}
		})
	}
	c := newChain(t, `{"product": "vspc"}`)
	asked := c.gets(http.StatusOK, nil, "{}")
	if got := c.ask("monitor", "get", "/api//v3/organizations?a=1", nil); got.Code != http.StatusOK || *asked != 1 {
		t.Errorf("what nobody has changed: %d %s", got.Code, got.Body)
	}
}

func TestWithoutADecisionOnlyHealthChecksTravel(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	asked := c.gets(http.StatusOK, nil, "{}")
	foreign := prepared(proxied(t.Context(), nil))
	res, err := c.tr.RoundTrip(foreign)
	if err != nil || res.StatusCode != 520 || *asked != 0 {
		t.Fatalf("a request of a site without the handler: %v %v", res, err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), "No handler veeam_auth has decided about the request") {
		t.Errorf("a request of a site without the handler is answered: %s, %v", body, err)
	}
	check := proxied(t.Context(), nil)
	if res, err = c.tr.RoundTrip(check); err != nil || res.StatusCode != http.StatusOK || *asked != 1 {
		t.Errorf("a health check: %v %v", res, err)
	}
	if c.asked.Header.Get("Authorization") != "" {
		t.Error("a health check has a bearer")
	}
}

func TestNoAnswerBringsAnAccessTokenToAClient(t *testing.T) {
	t.Parallel()
	long := `{"a":{"x":[1,{"access_token":"nested"}]},"b":"` + strings.Repeat("x", 100<<10) + `",`
	for name, test := range map[string]struct {
		path, kind, body string
		status           int
	}{
		"at once":                   {"/api/v3/unheard/of", "application/json", `{"access_token":"eyJ0"}`, 520},
		"in other letters":          {"/api/v3/unheard/of", "application/json; charset=utf-8", `{"x":1,"AccessToken" : "eyJ0"}`, 520},
		"escaped":                   {"/api/v3/unheard/of", "text/json", `{"\u0061ccess\u005ftoken":"eyJ0"}`, 520},
		"a refresh token":           {"/api/v3/unheard/of", "", " \n{\"refresh_token\":\"eyJ0\"}", 520},
		"below data":                {"/api/v3/unheard/of", "application/problem+json", `{"data":{"userId":1,"accessToken":"eyJ0"}}`, 520},
		"behind a byte order mark":  {"/api/v3/unheard/of", "text/plain", "\ufeff{\"access_token\":\"eyJ0\"}", 520},
		"of a call about secrets":   {"/api/v3/users/0b1f/logins/apikey", "application/json", `{"access_token":"eyJ0"}`, 520},
		"late":                      {"/api/v3/unheard/of", "application/json", long + `"access_token":"eyJ0"}`, 0},
		"as another type":           {"/api/v3/unheard/of", "application/octet-stream", `{"access_token":"eyJ0"}`, 0},
		"deep below":                {"/api/v3/unheard/of", "application/json", long + `"c":1}`, 200},
		"as a value":                {"/api/v3/unheard/of", "application/json", `{"grant":"access_token","list":["access_token"],"data":[{"accessToken":1}]}`, 200},
		"no JSON":                   {"/api/v3/unheard/of", "text/plain", `"access_token":"eyJ0"`, 200},
		"of a call that gives none": {"/api/v3/organizations", "application/json", `{"access_token":"eyJ0"}`, 200},
		"nothing":                   {"/api/v3/unheard/of", "application/json", "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, `{"product": "vspc"}`)
			c.gets(http.StatusOK, http.Header{"Content-Type": {test.kind}}, test.body)
			method := http.MethodPost
			if test.status == 200 && strings.HasSuffix(test.path, "organizations") {
				method = http.MethodGet
			}
			got := c.ask("monitor", method, test.path, nil)
			leaked := strings.Contains(got.Body.String(), "eyJ0")
			switch test.status {
			case 200:
				if got.Code != 200 || got.Body.String() != test.body || got.broken != nil {
					t.Errorf("%d, %d bytes, %v", got.Code, got.Body.Len(), got.broken)
				}
			case 0:
				if leaked || got.broken == nil {
					t.Errorf("leaked: %v, %v", leaked, got.broken)
				}
			default:
				if leaked || got.Code != test.status {
					t.Errorf("leaked: %v, %d %s", leaked, got.Code, got.Body)
				}
			}
		})
	}
}

// The same answer in every form: refused, with and without filter_secrets.
func TestNoFormOfAnAnswerBringsAnAccessTokenToAClient(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {"except": ["caddy:admin"]}}`)
	turn := 0
	try := func(status int, header http.Header, body string) {
		turn++
		for _, caller := range []string{"monitor", "admin"} {
			c.serve(status, header, body)
			got := c.ask(caller, http.MethodPost, "/api/v3/unheard/of", func(r *http.Request) {
				r.Header.Set("Accept-Encoding", "gzip, br")
				r.Header.Set("Range", "bytes=10-")
			})
			if leaks(got) || got.Code == status && got.broken == nil {
				t.Errorf("%s: %d %v %.60q becomes %d %v %.60q", caller, status, header, body, got.Code, got.broken, got.Body)
			}
			if accepted, part := c.asked.Header.Get("Accept-Encoding"), c.asked.Header.Get("Range"); part != "" || caller == "admin" && accepted != "identity" {
				t.Fatalf("%s: asked for %q, %q", caller, accepted, part)
			}
		}
	}
	for _, body := range []string{
		`{"access_token":"` + matrixCanary + `"}`,
		`{"a":["∀"],"data":{"accessToken":"` + matrixCanary + `"}}`,
		`{"a":1} {"refresh_token":"` + matrixCanary + `"}`,
		`{"a":"` + strings.Repeat("x", 10<<10) + `","access_token":"` + matrixCanary + `"}`,
	} {
		for _, kind := range []string{"-", contentTypeJSON, "application/problem+json", "text/plain; charset=utf-16", "application/octet-stream", "text/html"} {
			header := func(more ...string) http.Header {
				h := http.Header{"Content-Type": {kind}}
				if kind == "-" {
					delete(h, "Content-Type")
				}
				for _, value := range more {
					h.Add("Content-Encoding", value)
				}
				return h
			}
			for encoding, pack := range matrixPackings {
				encoding, _, _ = strings.Cut(encoding, ",")
				try(http.StatusOK, header(encoding), pack(body))
				try(http.StatusOK, header("identity", encoding), pack(body))
				try(http.StatusBadRequest, header(encoding), pack(body))
			}
			gzipped := matrixPackings["gzip"]
			try(http.StatusOK, header("gzip, gzip"), gzipped(gzipped(body)))
			try(http.StatusOK, header("gzip"), gzipped("{}")+gzipped(body)) // two members
			try(http.StatusOK, header("gzip"), gzipped(body)+"behind it")
			for _, write := range matrixWritings {
				try(http.StatusOK, header(), write(body))
			}
			part := header()
			part.Set("Content-Range", "bytes 1-99/100")
			try(http.StatusPartialContent, part, body[1:])
			try(http.StatusOK, part, body[1:])
		}
	}
	t.Logf("%d answers", turn)
	if turn < 500 {
		t.Errorf("%d answers only", turn)
	}
}

func TestAPackedAnswerWithoutATokenPassesTheFilter(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
	c.serve(http.StatusOK, http.Header{"Content-Type": {contentTypeJSON}, "Content-Encoding": {"gzip"}, "Etag": {"x"}}, matrixPackings["gzip"](`{"password":"x"}`))
	got := c.ask("monitor", http.MethodPost, "/api/v3/unheard/of", func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	if got.Code != http.StatusOK || got.Body.String() != `{"password":"****"}` || got.Header().Get("Content-Encoding")+got.Header().Get("Etag") != "" {
		t.Errorf("%d %v %s", got.Code, got.Header(), got.Body)
	}
}

func TestASessionOfTheServersStaysBehindOnEveryWayOut(t *testing.T) {
	t.Parallel()
	header := http.Header{
		"Set-Cookie": {"session=1"}, "X-Restsvcsessionid": {"1"}, "Content-Type": {"application/json"},
		"Location": {"https://elsewhere.lab.local/", memoryScheme + "://vspc01.lab.local:1280/api/v3/x?y=1#z"},
		"Link":     {"<" + memoryScheme + "://vspc01.lab.local:1280/api/v3/x>; rel=next"},
	}
	for name, test := range map[string]struct {
		status int
		path   string
		route  veeam.Route
	}{
		"a success": {200, "/api/v3/organizations", 0}, "a 401": {401, "/api/v3/organizations", 0}, "a 403": {403, "/api/v3/organizations", 0},
		"a redirect": {302, "/api/v3/organizations", 0}, "a fault": {500, "/api/v3/organizations", 0}, "no route": {404, "/api/v3/unheard/of", 0},
		"an anonymous route": {200, "/api/v3/organizations", veeam.RouteAnonymous}, "its 401": {401, "/api/v3/organizations", veeam.RouteAnonymous},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, `{"product": "vspc"}`)
			c.gets(test.status, header, "{}")
			c.change = func(r *http.Request) {
				if test.route != 0 {
					stateOf(r.Context()).route = test.route
				}
			}
			got := c.ask("monitor", http.MethodGet, test.path, nil)
			if got.Code != test.status || got.Header().Get("Set-Cookie") != "" || got.Header().Get("X-Restsvcsessionid") != "" {
				t.Errorf("%d %v", got.Code, got.Header())
			}
			if location, link := got.Header()["Location"], got.Header().Get("Link"); len(location) != 2 || location[1] != "http://example.com/api/v3/x?y=1#z" || link != "<http://example.com/api/v3/x>; rel=next" {
				t.Errorf("Location %q, Link %q", location, link)
			}
		})
	}
}

// A server, or a proxy in front of it, may answer anything: a client gets an answer of HTTP,
// and no other connection than it has asked for.
func TestWhatIsNoAnswerIsRefused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{-1, 0, 42, 99, 100, 103, 199, 1000, 70000, http.StatusSwitchingProtocols} {
		for path, filters := range map[string]string{"/api/v3/organizations": "", "/api/v3/unheard/of": "", "/api/v3/organizations?filtered": `, "filter_secrets": {}`} {
			c := newChain(t, `{"product": "vspc"`+filters+`}`)
			asked := c.gets(status, http.Header{"Set-Cookie": {"session=1"}}, "")
			if got := c.ask("monitor", http.MethodGet, path, nil); got.Code < http.StatusInternalServerError || got.Header().Get("Set-Cookie") != "" || *asked != 1 {
				t.Errorf("%d at %s: %d %v, asked %d times", status, path, got.Code, got.Header(), *asked)
			}
		}
	}
}

func TestAnAnswerThatBreaksOffIsInTheLog(t *testing.T) {
	t.Parallel()
	for _, begun := range []bool{true, false} {
		c := newChain(t, `{"product": "vspc"}`)
		req := httptest.NewRequest(http.MethodDelete, "/api/v3/organizations", http.NoBody)
		req.RemoteAddr = "192.0.2.1:1"
		req = prepared(req)
		req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", "monitor")
		panicked := func() (cause any) {
			defer func() { cause = recover() }()
			return c.handler.ServeHTTP(httptest.NewRecorder(), req, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				if begun {
					w.WriteHeader(http.StatusOK)
				}
				panic(http.ErrAbortHandler)
			}))
		}()
		if ended, _ := panicked.(error); !errors.Is(ended, http.ErrAbortHandler) {
			t.Errorf("%v", panicked)
		}
		if n := c.logs.FilterMessage(svclog.ResponseKey).Len(); (n == 1) != begun || n > 1 {
			t.Errorf("begun %t: %d lines", begun, n)
		}
	}
}

func TestA401OnAFormIsNoEvidenceAgainstTheToken(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	c.gets(http.StatusOK, nil, "{}")
	c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil)
	asked := c.gets(http.StatusUnauthorized, nil, "{}")
	logins := 0
	count := c.wire.answer
	c.wire.answer = func(req *http.Request) (*http.Response, error) {
		if forToken(req) {
			logins++
		}
		return count(req)
	}
	for range 5 {
		got := c.ask("monitor", http.MethodPost, "/api/v3/some/form", func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("grant_type=password&username=a&password=b")), -1
		})
		if got.Code != http.StatusUnauthorized {
			t.Errorf("%d", got.Code)
		}
	}
	if *asked != 5 || logins != 0 {
		t.Errorf("the server was asked %d times, and for %d tokens", *asked, logins)
	}
}

// rejectingBodies answers 401 to what has a body, whatever its token, and has the
// emulator answer the rest.
func (c *chain) rejectingBodies() (posts, questions, logins *int) {
	posts, questions, logins = new(int), new(int), new(int)
	c.wire.answer = func(req *http.Request) (*http.Response, error) {
		switch {
		case forToken(req):
			*logins++
		case req.Method == http.MethodPost:
			*posts++
			return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), ContentLength: -1, Request: req}, nil
		case strings.HasSuffix(req.URL.Path, "/users/me"):
			*questions++
		}
		return nil, nil //nolint:nilnil // the emulator answers
	}
	return posts, questions, logins
}

func sendJSON(r *http.Request) {
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"username":"a","password":"b"}`)), -1
}

func TestA401OnABodyCostsNoTokenThatTheServerAccepts(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	posts, questions, logins := c.rejectingBodies()
	c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil) // proves the token
	for i := range 5 {
		if got := c.ask("monitor", http.MethodPost, "/api/v3/some/credentials", sendJSON); got.Code != http.StatusUnauthorized {
			t.Errorf("%d: %d", i, got.Code)
		}
	}
	if *posts != 5 || *logins != 1 || *questions < 1 {
		t.Errorf("%d requests, %d logins, %d questions", *posts, *logins, *questions)
	}
}

func TestARevokedTokenIsReplacedForARequestWithABody(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil)
	c.server.RevokeAll()
	posted := 0
	c.wire.answer = func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost && !forToken(req) {
			posted++
		}
		return nil, nil //nolint:nilnil // the emulator answers
	}
	if got := c.ask("monitor", http.MethodPost, "/api/v3/organizations/companies", sendJSON); got.Code == http.StatusUnauthorized || posted != 2 {
		t.Errorf("%d %s, sent %d times", got.Code, got.Body, posted)
	}
	if got := c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil); got.Code != http.StatusOK {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestNoOtherWayToASessionIsPassedOn(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	asked := c.gets(http.StatusOK, nil, `{"access_token":"eyJ0"}`)
	for _, path := range []string{
		"/api/v4/token", "/v8/token", "/token", "/api/oauth2/token", "/private-api/oauth2/token", "/api/v3/token/authorizationCode",
		"/api/v3/logout", "/api/v3/login", "/api/sessionMngr/?v=latest", "/api/oauth2/logout", "/api/oauth2/authorization_code", "/api/v2/authentication/refresh",
	} {
		for _, method := range []string{"GET", "post", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} {
			if got := c.ask("monitor", method, path, nil); got.Code != http.StatusForbidden || strings.Contains(got.Body.String(), "eyJ0") {
				t.Errorf("%s %s: %d %s", method, path, got.Code, got.Body)
			}
		}
	}
	for _, path := range []string{"/api/v3/token", "/API/V3/Token/", "/api/v3//TOKEN", "/api/v3/users/0b1f/tokens/../tokens"} {
		for _, method := range []string{"GET", "PUT", "patch", "HEAD", "OPTIONS"} {
			if got := c.ask("monitor", method, path, nil); got.Code != http.StatusForbidden {
				t.Errorf("%s %s: %d", method, path, got.Code)
			}
		}
	}
	if *asked > 0 {
		t.Errorf("the server was asked %d times", *asked)
	}
}

func TestAnUpstreamBelowAPath(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	c.tr.BasePath = "/veeam"
	var paths []string
	answer := &http.Response{StatusCode: http.StatusOK}
	c.wire.answer = func(req *http.Request) (*http.Response, error) {
		paths = append(paths, req.Method+" "+req.URL.EscapedPath())
		if forToken(req) {
			req.URL.Path = strings.TrimPrefix(req.URL.Path, "/veeam")
			return nil, nil //nolint:nilnil // the emulator answers
		}
		res := *answer
		res.Body, res.Request = io.NopCloser(strings.NewReader("{}")), req
		return &res, nil
	}
	for location, want := range map[string]string{
		memoryScheme + "://vspc01.lab.local:1280/veeam/api/v3/x": "http://example.com/api/v3/x",
		"/veeam/api/v3/x?a=1":                 "/api/v3/x?a=1",
		"/veeamother/x":                       "/veeamother/x",
		"https://elsewhere.lab.local/veeam/x": "https://elsewhere.lab.local/veeam/x",
	} {
		answer.Header = http.Header{"Location": {location}}
		got := c.ask("monitor", http.MethodGet, "/api/v3/organizations/a%2Bb", nil)
		if got.Code != http.StatusOK || got.Header().Get("Location") != want {
			t.Errorf("%s: %d %q, want %q", location, got.Code, got.Header().Get("Location"), want)
		}
	}
	if len(paths) != 5 || paths[0] != "POST /veeam/api/v3/token" || paths[1] != "GET /veeam/api/v3/organizations/a%2Bb" {
		t.Errorf("%q", paths)
	}
}

func TestHeadersOfTheConnectionAreGoneBeforeRulesSeeThem(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "rules": [{"effect": "allow", "match": [{"header": {"X-Team": ["green"]}}]}]}`)
	asked := c.gets(http.StatusOK, nil, "{}")
	for connection, want := range map[string]int{"close": 200, "X-Team": 403, "close, x-team": 403} {
		got := c.ask("monitor", http.MethodGet, "/api/v3/organizations", func(r *http.Request) {
			r.Header.Set("X-Team", "green")
			r.Header.Set("Connection", connection)
		})
		if got.Code != want {
			t.Errorf("Connection: %s: %d", connection, got.Code)
		}
	}
	if *asked != 1 {
		t.Errorf("the server was asked %d times", *asked)
	}
}
