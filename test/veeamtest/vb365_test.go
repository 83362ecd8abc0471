// Tests of what VB365 has to itself: versions side by side, JSON, the antiforgery cookie, its quota and its grants.

package veeamtest

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

const vb365Login = "grant_type=password&username=svc-monitor&password=monitor-pass-1"

// quotaless is a VB365 server for tests that log in often.
func quotaless(opts ...Option) *Server {
	return New(VB365, append([]Option{WithTokenLimits(0, 0, 0)}, opts...)...)
}

func TestVB365AtItsTokenEndpoint(t *testing.T) {
	const json = "application/json; charset=utf-8"
	for name, c := range map[string]struct {
		path, contentType, body string
		options                 []Option
		status                  int
		cookie                  bool
	}{
		"form":                           {"/v8/token", formType, vb365Login + "&disable_antiforgery_token=true", nil, 200, false},
		"form with a quoted blank":       {"/v8/token", formType, vb365Login + "&refresh_token=%27%27&disable_antiforgery_token=true", nil, 200, false},
		"without the flag":               {"/v8/token", formType, vb365Login, nil, 200, true},
		"with the flag off":              {"/v7/token", formType, vb365Login + "&disable_antiforgery_token=false", nil, 200, true},
		"v6 has no cookie":               {"/v6/token", formType, vb365Login, nil, 200, false},
		"JSON":                           {"/v8/token", json, `{"grant_type":"password","username":"svc-monitor","password":"monitor-pass-1","disable_antiforgery_token":true}`, nil, 200, false},
		"JSON with a null flag":          {"/v7/token", json, `{"grant_type":"password","username":"svc-monitor","password":"monitor-pass-1","disable_antiforgery_token":null}`, nil, 200, true},
		"path in any case":               {"/V6/Token/", formType, vb365Login, nil, 200, false},
		"a form that says it is JSON":    {"/v8/token", json, vb365Login, nil, 400, false},
		"JSON that says it is a form":    {"/v8/token", formType, `{"grant_type":"password"}`, nil, 400, false},
		"JSON with a number":             {"/v8/token", json, `{"grant_type":"password","username":"svc-monitor","password":1}`, nil, 400, false},
		"JSON that is a list":            {"/v8/token", json, `[]`, nil, 400, false},
		"multipart":                      {"/v8/token", "multipart/form-data; boundary=x", "--x--", nil, 415, false},
		"no type":                        {"/v8/token", "", vb365Login, nil, 415, false},
		"no grant":                       {"/v8/token", formType, "username=svc-monitor&password=monitor-pass-1", nil, 400, false},
		"a grant in another case":        {"/v8/token", formType, strings.Replace(vb365Login, "password", "Password", 1), nil, 400, false},
		"a field in another case":        {"/v8/token", formType, strings.Replace(vb365Login, "username", "Username", 1), nil, 400, false},
		"an unknown version":             {"/v9/token", formType, vb365Login, nil, 404, false},
		"a version that is not served":   {"/v8/token", formType, vb365Login, []Option{WithAPIVersions("v6", "v7")}, 404, false},
		"no version":                     {"/token", formType, vb365Login, nil, 404, false},
		"a wrong password":               {"/v8/token", formType, "grant_type=password&username=svc-monitor&password=x", nil, 401, false},
		"a wrong password, other status": {"/v8/token", formType, "grant_type=password&username=svc-monitor&password=x", []Option{WithRefusedStatus(400)}, 400, false},
		"a user with MFA":                {"/v8/token", formType, "grant_type=password&username=svc-mfa&password=mfa-pass-1", nil, 401, false},
		"operators only":                 {"/v8/token", formType, vb365Login, []Option{WithOperatorsOnly()}, 401, false},
	} {
		s := New(VB365, c.options...)
		got := do(s, "POST", c.path, "", c.body, "Content-Type", c.contentType)
		if cookie := got.header.Get("Set-Cookie") != ""; got.status != c.status || cookie != c.cookie {
			t.Errorf("%s: %d, cookie %t: %s", name, got.status, cookie, got.body)
		}
		want := Counters{TokenRequests: 1, Logins: 1, LiveSessions: 1}
		if c.status != 200 {
			want = Counters{TokenRequests: 1, Refused: 1}
		}
		if c.status == 404 {
			want = Counters{}
		}
		if n := s.Counters(); n.TokenRequests != want.TokenRequests || n.Logins != want.Logins || n.Refused != want.Refused || n.LiveSessions != want.LiveSessions {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func TestVB365WritesEachVersionsOwnDocuments(t *testing.T) {
	for version, want := range map[string]struct{ token, refusal string }{
		"v6": {".expires .issued access_token expires_in refresh_token token_type userName", "message"},
		"v7": {".expires .issued access_token expires_in refresh_token token_type userName", "errorCode message"},
		"v8": {".expires .issued access_token expires_in refresh_token token_type", "errorCode message stackTrace"},
	} {
		s := quotaless()
		if got := do(s, "POST", "/"+version+"/token", "", vb365Login, "Content-Type", formType); keys(got.json(t)) != want.token {
			t.Errorf("%s: %s", version, got.body)
		}
		if got := do(s, "POST", "/"+version+"/token", "", "grant_type=password", "Content-Type", formType); keys(got.json(t)) != want.refusal {
			t.Errorf("%s: %s", version, got.body)
		}
	}
}

// The probe for a version needs no credential: a version that is served wants one, another does not exist.
func TestVB365ShowsItsVersionsToStrangers(t *testing.T) {
	s := New(VB365, WithAPIVersions("v6", "v7"))
	for path, want := range map[string]int{
		"/v6/ServiceInstance": 401, "/V7/serviceinstance": 401, "/v8/ServiceInstance": 404, "/v9/ServiceInstance": 404, "/v5/ServiceInstance": 404, "/ServiceInstance": 404,
	} {
		if got := do(s, "GET", path, "", ""); got.status != want {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if s.TokenPath() != "/v7/token" || s.Base() != "/v7" {
		t.Errorf("%s %s", s.TokenPath(), s.Base())
	}
}

func TestVB365LogsOutAsEachVersionDoes(t *testing.T) {
	for version, want := range map[string]int{"v6": 404, "v7": 200, "v8": 204} {
		s := New(VB365)
		access, _ := defaultLogin(t, s)
		if got := do(s, "POST", "/"+version+"/token/logout", "", ""); got.status != 401 {
			t.Errorf("%s without a token: %d", version, got.status)
		}
		got := do(s, "POST", "/"+version+"/token/logout", access, "")
		if got.status != want {
			t.Errorf("%s: %d", version, got.status)
		}
		ended := want != 404
		if alive := status(s, access) == 200; alive == ended {
			t.Errorf("%s: alive %t", version, alive)
		}
		if c := s.Counters(); (c.Logouts == 1) != ended || (c.LiveSessions == 0) != ended {
			t.Errorf("%s: %+v", version, c)
		}
		if again := do(s, "POST", "/"+version+"/token/logout", access, ""); ended && again.status != 401 {
			t.Errorf("%s: a second logout: %d", version, again.status)
		}
	}
}

func TestVB365DemandsTheAntiforgeryCookieWithItsTokens(t *testing.T) {
	for name, c := range map[string]struct {
		options     []Option
		read, write int
	}{
		"everywhere":   {nil, 401, 401},
		"not at reads": {[]Option{WithAntiforgeryReads()}, 200, 401},
	} {
		s := quotaless(append(c.options, WithAntiforgeryCookie("xsrf"))...)
		got := do(s, "POST", "/v8/token", "", vb365Login, "Content-Type", formType)
		access, refresh := got.text(t, "access_token"), got.text(t, "refresh_token")
		cookie, _ := http.ParseSetCookie(got.header.Get("Set-Cookie"))
		if cookie == nil || cookie.Name != "xsrf" {
			t.Fatalf("%s: %v", name, got.header)
		}
		with := "xsrf=" + cookie.Value
		for _, request := range []struct {
			method, cookie string
			want           int
		}{
			{"GET", "", c.read}, {"POST", "", c.write}, {"POST", "xsrf=other", c.write}, {"GET", with, 200}, {"POST", with, 200},
		} {
			if got := do(s, request.method, "/v8/echo", access, "", "Cookie", request.cookie); got.status != request.want {
				t.Errorf("%s: %s with %q: %d", name, request.method, request.cookie, got.status)
			}
		}
		body := "grant_type=refresh_token&disable_antiforgery_token=true&refresh_token=" + strings.NewReplacer("+", "%2B", "/", "%2F").Replace(refresh)
		if got := do(s, "POST", "/v8/token", "", body, "Content-Type", formType); got.status != 401 {
			t.Errorf("%s: a refresh without the cookie: %d", name, got.status)
		}
		got = do(s, "POST", "/v8/token", "", body, "Content-Type", formType, "Cookie", with)
		if got.status != 200 || got.header.Get("Set-Cookie") != "" || do(s, "POST", "/v8/echo", got.text(t, "access_token"), "").status != 200 {
			t.Errorf("%s: a refresh with the cookie and the flag: %d %s", name, got.status, got.body)
		}
	}
}

func TestARefreshAtVB365NeedsTheFlagTooIfNoCookieIsWanted(t *testing.T) {
	s := quotaless()
	_, refresh := defaultLogin(t, s)
	body := "grant_type=refresh_token&refresh_token=" + strings.NewReplacer("+", "%2B", "/", "%2F").Replace(refresh)
	got := do(s, "POST", "/v8/token", "", body, "Content-Type", formType)
	if got.status != 200 || got.header.Get("Set-Cookie") == "" || status(s, got.text(t, "access_token")) != 401 {
		t.Errorf("%d %v", got.status, got.header)
	}
}

func TestVB365LimitsItsTokenEndpointAlone(t *testing.T) {
	s := New(VB365, fixed())
	access, _ := defaultLogin(t, s)
	got := do(s, "POST", "/v7/token", "", vb365Login, "Content-Type", formType)
	if got.status != 429 || got.body != `{"errorCode":null,"message":"Quota Exceeded"}` || got.header.Get("Retry-After") != "" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	for range 20 {
		if status(s, access) != 200 {
			t.Error("a protected route is limited")
		}
	}
	for range 4 {
		s.Advance(time.Second)
		defaultLogin(t, s)
	}
	s.Advance(time.Second)
	if got := do(s, "POST", "/v8/token", "", vb365Login, "Content-Type", formType); got.status != 429 {
		t.Errorf("the sixth in a minute: %d", got.status)
	}
	s.Advance(55 * time.Second)
	defaultLogin(t, s)
	if c := s.Counters(); c.Throttled != 2 || c.Logins != 6 || c.Refused != 2 {
		t.Errorf("%+v", c)
	}
}

func TestVB365CanLeaveCallersOfItsOwnMachineUnlimited(t *testing.T) {
	s := New(VB365, fixed(), WithLoopbackUnlimited())
	for from, want := range map[string]int64{"127.0.0.1:5": 0, "[::1]:5": 0, "192.0.2.1:5": 9} {
		s.ResetCounters()
		for range 10 {
			got, err := http.NewRequest(http.MethodPost, "/v8/token", strings.NewReader(vb365Login))
			if err != nil {
				t.Fatal(err)
			}
			got.Header.Set("Content-Type", formType)
			got.RemoteAddr = from
			s.ServeHTTP(&lostWriter{header: http.Header{}}, got)
		}
		if c := s.Counters(); c.Throttled != want || c.Logins != 10-want {
			t.Errorf("%s: %+v", from, c)
		}
	}
}

func TestVB365TakesAssertions(t *testing.T) {
	const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	for name, c := range map[string]struct {
		grant, id, assertion string
		operatorsOnly        bool
		status               int
	}{
		"jwt-bearer":                 {jwtBearer, DefaultClientID, DefaultAssertion, false, 200},
		"operator":                   {"operator", DefaultClientID, DefaultAssertion, false, 200},
		"operator, operators only":   {"operator", DefaultClientID, DefaultAssertion, true, 200},
		"jwt-bearer, operators only": {jwtBearer, DefaultClientID, DefaultAssertion, true, 401},
		"another application":        {jwtBearer, "x", DefaultAssertion, false, 401},
		"another assertion":          {"operator", DefaultClientID, "x", false, 401},
		"no application":             {jwtBearer, "", DefaultAssertion, false, 400},
		"no assertion":               {"operator", DefaultClientID, "", false, 400},
	} {
		var options []Option
		if c.operatorsOnly {
			options = append(options, WithOperatorsOnly())
		}
		s := New(VB365, options...)
		if got := grant(s, "grant_type="+c.grant, "client_id="+c.id, "assertion="+c.assertion); got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	s := quotaless()
	s.SetAssertion(DefaultUser, "next")
	for assertion, want := range map[string]int{DefaultAssertion: 401, "next": 200} {
		if got := grant(s, "grant_type=operator", "client_id="+DefaultClientID, "assertion="+assertion); got.status != want {
			t.Errorf("%s after a change: %d", assertion, got.status)
		}
	}
	for path, want := range map[string]int{"/v6/token": 200, "/v7/token": 200, "/v8/token": 400} {
		body := "grant_type=integration&integration_token=" + strings.ReplaceAll(VB365IntegrationToken, "+", "%2B")
		if got := do(s, "POST", path, "", body, "Content-Type", formType); got.status != want {
			t.Errorf("integration at %s: %d %s", path, got.status, got.body)
		}
	}
}

func TestVB365SessionsEnd(t *testing.T) {
	s := New(VB365, fixed(), WithAccessLifetime(80*time.Minute))
	access, _ := defaultLogin(t, s)
	s.Advance(80*time.Minute - time.Second)
	if status(s, access) != 200 {
		t.Error("ended early")
	}
	s.Advance(time.Second)
	if status(s, access) != 401 {
		t.Error("outlived its time")
	}
	access, _ = defaultLogin(t, s)
	code := do(s, "POST", "/v8/token/AuthCode", access, "")
	if code.status != 200 || code.text(t, "authCode") == "" || do(s, "POST", "/v6/token/AuthCode", access, "").status != 404 {
		t.Errorf("%d %s", code.status, code.body)
	}
	s.RevokeAll()
	if status(s, access) != 401 || s.Counters().LiveSessions != 0 {
		t.Error("survived its revocation")
	}
}

func TestVB365RefreshTokensCanBeReusable(t *testing.T) {
	for name, c := range map[string]struct {
		options []Option
		want    int
	}{"once": {nil, 401}, "often": {[]Option{WithReusableRefresh()}, 200}} {
		s := quotaless(c.options...)
		_, refresh := defaultLogin(t, s)
		grant(s, "grant_type=refresh_token", "refresh_token="+refresh)
		if got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh); got.status != c.want {
			t.Errorf("%s: %d", name, got.status)
		}
	}
}
