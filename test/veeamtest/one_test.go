// Tests of what Veeam ONE has to itself: multipart, revocation, versions that are refused, sessions that interfere.

package veeamtest

import (
	"testing"
	"time"
)

func multipartForm(pairs ...string) string {
	body := ""
	for i := 0; i < len(pairs); i += 2 {
		body += "--x\r\nContent-Disposition: form-data; name=\"" + pairs[i] + "\"\r\n\r\n" + pairs[i+1] + "\r\n"
	}
	return body + "--x--\r\n"
}

func TestONEAtItsTokenEndpoint(t *testing.T) {
	const login = "grant_type=password&username=svc-monitor&password=monitor-pass-1"
	multipart := multipartForm("grant_type", "password", "username", DefaultUser, "password", DefaultPassword, "ui_login", "true")
	for name, c := range map[string]struct {
		contentType, body string
		status            int
	}{
		"form":                        {formType, login, 200},
		"form with fields of scripts": {formType, login + "&rememberMe=&asCurrentUser=&refresh_token=", 200},
		"multipart":                   {"multipart/form-data; boundary=x", multipart, 200},
		"multipart that breaks off":   {"multipart/form-data; boundary=x", multipart[:60], 400},
		"JSON":                        {"application/json", `{"grant_type":"password"}`, 415},
		"no type":                     {"", login, 415},
		"no grant":                    {formType, "username=svc-monitor&password=monitor-pass-1", 400},
		"a wrong password":            {formType, "grant_type=password&username=svc-monitor&password=x", 400},
		"another grant":               {formType, "grant_type=mfa&mfa_token=x&mfa_code=1", 400},
	} {
		s := New(ONE)
		got := do(s, "POST", "/api/token", "", c.body, "Content-Type", c.contentType)
		if got.status != c.status || c.status != 200 && got.header.Get("Content-Type") != problemType {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if n := s.Counters(); n.Logins+n.Refused != 1 || (n.Logins == 1) != (c.status == 200) {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// The probe for a version needs no credential: one that is served wants one, another is a bad request.
func TestONEShowsItsVersionsToStrangers(t *testing.T) {
	s := New(ONE, WithAPIVersions("v2.1", "v2.2"))
	access, _ := defaultLogin(t, s)
	for path, want := range map[string]int{"/api/v2.1/about": 401, "/api/V2.2/About": 401, "/api/v2.3/about": 400, "/api/v1/about": 400, "/api/about": 401, "/swagger/v2.3/swagger.json": 404} {
		if got := do(s, "GET", path, "", ""); got.status != want {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := do(s, "GET", "/api/v2.3/about", access, ""); got.status != 400 {
		t.Errorf("with a token: %d", got.status)
	}
}

func TestONESessionsOfAUserInterfere(t *testing.T) {
	s := New(ONE, WithAccount(Account{Username: "other", Password: "x"}))
	other, _ := login(t, s, "other", "x")
	first, refresh := defaultLogin(t, s)
	second, _ := defaultLogin(t, s)
	if status(s, first) != 401 || status(s, second) != 200 || status(s, other) != 200 {
		t.Error("a login must end the sessions of its user and no others")
	}
	if grant(s, "grant_type=refresh_token", "refresh_token="+refresh).status != 400 {
		t.Error("the refresh token of an ended session works")
	}
	if c := s.Counters(); c.LiveSessions != 2 || c.Logins != 3 {
		t.Errorf("%+v", c)
	}
	s = New(ONE, WithParallelSessions())
	first, _ = defaultLogin(t, s)
	defaultLogin(t, s)
	if status(s, first) != 200 {
		t.Error("the option did nothing")
	}
}

func TestONERevokes(t *testing.T) {
	user := WithAccount(Account{Username: DefaultUser, Password: DefaultPassword, UID: "S-1-5-21-7"})
	for name, c := range map[string]struct {
		options                    []Option
		field, contentType, bearer string
		status                     int
		access, refresh, second    bool // what is alive afterwards
	}{
		"an access token":           {nil, "access", formType, "", 200, false, false, true},
		"a refresh token":           {nil, "refresh", formType, "", 200, false, false, true},
		"in multipart":              {nil, "access", "multipart/form-data; boundary=x", "", 200, false, false, true},
		"a user":                    {nil, "sid", formType, "", 200, false, false, false},
		"the one token":             {[]Option{WithRevokeKeepsRefresh()}, "access", formType, "", 200, false, true, true},
		"an unknown token":          {nil, "unknown", formType, "", 400, true, true, true},
		"an unknown user":           {nil, "unknown sid", formType, "", 400, true, true, true},
		"nothing":                   {nil, "", formType, "", 400, true, true, true},
		"in JSON":                   {nil, "access", "application/json", "", 415, true, true, true},
		"without the bearer wanted": {[]Option{WithRevokeBearer()}, "access", formType, "", 401, true, true, true},
		"with the bearer wanted":    {[]Option{WithRevokeBearer()}, "access", formType, "own", 200, false, false, true},
	} {
		s := New(ONE, append(c.options, user, WithParallelSessions())...)
		access, refresh := defaultLogin(t, s)
		second, _ := defaultLogin(t, s)
		field, value := "token", map[string]string{"access": access, "refresh": refresh, "unknown": "x"}[c.field]
		if sid := map[string]string{"sid": "S-1-5-21-7", "unknown sid": "S-1"}[c.field]; sid != "" {
			field, value = "UserSid", sid
		}
		body := field + "=" + value
		if c.contentType[0] == 'm' {
			body = multipartForm(field, value)
		}
		bearer := ""
		if c.bearer != "" {
			bearer = access
		}
		got := do(s, "POST", "/api/revoke", bearer, body, "Content-Type", c.contentType)
		if got.status != c.status || c.status == 200 && got.body != "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if alive := status(s, access) == 200; alive != c.access {
			t.Errorf("%s: access token alive: %t", name, alive)
		}
		if alive := status(s, second) == 200; alive != c.second {
			t.Errorf("%s: other session alive: %t", name, alive)
		}
		if n := s.Counters(); (n.Logouts == 1) != (c.status == 200) {
			t.Errorf("%s: %+v", name, n)
		}
		if alive := grant(s, "grant_type=refresh_token", "refresh_token="+refresh).status == 200; alive != c.refresh {
			t.Errorf("%s: refresh token alive: %t", name, alive)
		}
	}
}

func TestFaultsReachONEsRevocation(t *testing.T) {
	s := New(ONE)
	access, _ := defaultLogin(t, s)
	s.SetFault(Fault{Kind: FaultStatus, Status: 503, On: OnProtected, Match: "/api/revoke", Count: 1})
	if got := do(s, "POST", "/api/revoke", "", "token="+access, "Content-Type", formType); got.status != 503 || status(s, access) != 200 {
		t.Errorf("%d", got.status)
	}
}

func TestONETokensLive899Seconds(t *testing.T) {
	s := New(ONE, fixed())
	access, refresh := defaultLogin(t, s)
	s.Advance(898 * time.Second)
	if status(s, access) != 200 {
		t.Error("ended early")
	}
	s.Advance(time.Second)
	if status(s, access) != 401 {
		t.Error("outlived its time")
	}
	if got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh); got.status != 200 || status(s, got.text(t, "access_token")) != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestONEsUpdaterAnswersASecret(t *testing.T) {
	s := New(ONE)
	access, _ := defaultLogin(t, s)
	got := do(s, "GET", "/api/v2.3/about/updater", access, "")
	if issued := s.Issued(); got.status != 200 || got.text(t, "url") != "https://one01.lab.local:1340/updater?access_token="+issued[len(issued)-1] {
		t.Errorf("%d %s", got.status, got.body)
	}
}
