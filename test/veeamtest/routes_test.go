// Tests of routing, resources and test routes.

package veeamtest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoute(t *testing.T) {
	for _, c := range []struct {
		p            Profile
		method, path string
		want         string
	}{
		{VBR13, "GET", "/api/v1/serverInfo", "GET /api/v1/serverInfo"},
		{VBR13, "HEAD", "/api/v1/serverInfo", "GET /api/v1/serverInfo"},
		{VBR13, "GET", "/API/V1/SERVERINFO/", "GET /api/v1/serverInfo"},
		{VBR13, "GET", "//api/.//v1/x/../serverInfo?x=/api", "GET /api/v1/serverInfo"},
		{VBR13, "GET", `/api\v1%5CserverInfo`, "GET /api/v1/serverInfo"},
		{VBR13, "GET", "/api/v1/server%49nfo", "GET /api/v1/serverInfo"},
		{VBR13, "GET", "/api/v1/server%2549nfo", ""},
		{VBR13, "GET", "/api%2fv1/%2e%2E/v1/serverInfo", "GET /api/v1/serverInfo"},
		{VBR13, "GET", "/api;a=b/v1/..;x/v1/serverInfo;jsessionid=1", "GET /api/v1/serverInfo"},
		{VBR13, "GET", "/../../api/v1/serverInfo", "GET /api/v1/serverInfo"},
		{VBR13, "GET", "/api/v1/jobs/abc", "GET /api/v1/jobs/{id}"},
		{VBR13, "GET", "/api/v1/jobs/states", "GET /api/v1/jobs/states"},
		{VBR13, "POST", "/api/v1/jobs/abc/start", "POST /api/v1/jobs/{id}/start"},
		{VBR13, "PUT", "/api/v1/serverInfo", ""},
		{VBR13, "PURGE", "/api/v1/echo", "PURGE /api/v1/echo"},
		{VBR13, "GET", "/api/v1", ""},
		{VBR13, "GET", "", ""},
		{VBR13, "POST", "/api/oauth2/token", "POST /api/oauth2/token"},
		{Azure, "GET", "/api/v3/system/about", "GET /api/{version}/system/about"},
		{Azure, "GET", "/api/V8.1/System/About", "GET /api/{version}/system/about"},
		{Azure, "GET", "/api/vx/system/about", ""},
		{Azure, "GET", "/api/v9/system/about", ""},
		{VSPC, "DELETE", "/api/v3/users/x/tokens", "DELETE /api/v3/users/{userUid}/tokens"},
		{AWS, "DELETE", "/api/v1/token", "DELETE /api/v1/token"},
		{GCP, "POST", "/api/v1/token/", "POST /api/v1/token"},
		{VB365, "POST", "/V7/Token", "POST /{version}/token"},
		{VB365, "POST", "/v8/TOKEN/Logout", "POST /v8/token/logout"},
		{VB365, "POST", "/v6/token/logout", ""},
		{VB365, "GET", "/v9/ServiceInstance", ""},
		{VB365, "GET", "/v7/serviceinstance", "GET /{version}/ServiceInstance"},
		{ONE, "POST", "/api/token", "POST /api/token"},
		{ONE, "GET", "/api/v2.1/about", "GET /api/{version}/about"},
		{ONE, "GET", "/api/v2.4/about", ""},
		{EM13, "GET", "/api/", "GET /api"},
		{EM13, "POST", "/api/sessionMngr/?v=latest", "POST /api/sessionMngr"},
		{EM13, "POST", "/api/jobs/x?action=start", "POST /api/jobs/{id}?action=start"},
		{EM13, "POST", "/API/jobs/x?x=1&Action=STOP", "POST /api/jobs/{id}?action=stop"},
		{EM13, "POST", "/api/jobs/x?%61ction=retry", "POST /api/jobs/{id}?action=retry"},
		{EM13, "POST", "/api/jobs/x?action=clone", ""},
		{EM13, "POST", "/api/jobs/x", ""},
		{VBR13, "GET", "/extension/" + AHVInstance + "/api/v10/jobs", "GET /extension/{instance}/api/v10/jobs"},
		{VBR13, "GET", "/extension/" + AHVInstance + "/api/v7/jobs", ""},
	} {
		if got := New(c.p).Route(c.method, c.path); got != c.want {
			t.Errorf("%s %s %s: %q, want %q", c.p, c.method, c.path, got, c.want)
		}
	}
}

func TestPathsInAnySpellingReachTheirOperation(t *testing.T) {
	s := New(VBR13)
	got := do(s, "POST", "/API//oauth2/%74oken/", "", "grant_type=password&username=svc-monitor&password=monitor-pass-1", "Content-Type", formType)
	access := got.text(t, "access_token")
	if got := do(s, "GET", "/Api/v1;x/jobs/../SERVERINFO", access, ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestAnonymousRoutesNeedNoToken(t *testing.T) {
	for p, paths := range map[Profile][]string{
		VBR12: {"/api/v1/serverTime", "/api/v1/serverCertificate"},
		VBR13: {"/api/v1/serverTime", "/api/v1/serverCertificate"},
		VSPC:  {"/api"},
		Azure: {"/swagger/index.html", "/api/v8/system/serviceIsUp", "/api/v8.1/settings/saml2/sp/metadata"},
		AWS:   {"/api/v1/users/isFirstLogin", "/api/v1/licenseAgreement", "/api/v1/problems/noAccessToken"},
		ONE:   {"/swagger/index.html", "/swagger/v2.3/swagger.json", "/swagger/v2.1/swagger.json"},
		EM12:  {"/api", "/api/"},
	} {
		s := unlimited(p)
		for _, path := range paths {
			if got := do(s, "GET", path, "", ""); got.status != 200 || got.body == "" {
				t.Errorf("%s %s: %d %s", p, path, got.status, got.body)
			}
		}
		if c := s.Counters(); c.Anonymous != int64(len(paths)) || c.Protected+c.Unauthorized+c.TokenRequests != 0 {
			t.Errorf("%s: %+v", p, c)
		}
	}
	if got := do(New(VBR13), "GET", "/api/v1/serverTime", "", "", "x-api-version", ""); got.status != 400 {
		t.Errorf("serverTime without a version: %d", got.status)
	}
	if got := do(New(AWS), "GET", "/api/v1/problems/noAccessToken", "", "", "x-api-version", ""); got.status != 200 {
		t.Errorf("a problem page without a version: %d", got.status)
	}
}

func TestResources(t *testing.T) {
	for p, requests := range map[Profile]map[string]int{
		VBR12: {"GET /api/v1/serverInfo": 200, "GET /api/v1/jobs": 200, "GET /api/v1/security/users": 200},
		VBR13: {
			"GET /api/v1/serverInfo": 200, "GET /api/v1/jobs": 200, "GET /api/v1/jobs/states": 200, "GET /api/v1/jobs/" + vbrJobID: 200,
			"GET /api/v1/jobs/x": 404, "POST /api/v1/jobs/x/start": 201, "DELETE /api/v1/jobs/x": 403, "POST /api/v1/security/users/svc-mfa/resetMFA": 204, "POST /api/v1/security/users/x/resetMFA": 404, "GET /api/v1/security/settings": 200,
			"GET /api/v1/nothing": 404, "PUT /api/v1/jobs": 405,
		},
		VSPC:  {"GET /api/v3/about": 200, "GET /api/v3/organizations": 200, "GET /api/v3/organizations/companies": 200, "GET /api/v3/users": 200, "GET /api/v3/users/me": 200, "GET /api/v3/x": 404},
		Azure: {"GET /api/v8.1/system/about": 200, "GET /api/v3/system/about": 200, "GET /api/v8/policies/virtualMachines": 200, "GET /api/v8/users": 200, "GET /api/v5/system/serverInfo": 200},
		AWS:   {"GET /api/v1/about": 200, "GET /api/v1/policies": 200, "GET /api/v1/sessions": 200, "GET /api/v1/users": 200},
		GCP:   {"GET /api/v1/version": 200, "GET /api/v1/overview": 200, "GET /api/v1/vmInstance/policies": 200, "GET /api/v1/sessions": 200, "GET /api/v1/users": 404},
		VB365: {
			"GET /v8/Organizations": 200, "GET /v6/jobs": 200, "GET /v7/ServiceInstance": 200, "POST /v8/Jobs/x/start": 200, "GET /v7/RestorePortalSettings": 200,
			"POST /v6/token/logout": 404, "GET /v8/x": 404, "DELETE /v8/Jobs": 405,
		},
		ONE: {
			"GET /api/v2.3/about": 200, "GET /api/v2.1/vbr/repositories": 200, "GET /api/v2.2/vbrJobs/vmBackupJobs": 200, "GET /api/v2.3/alarms/templates": 200,
			"POST /api/v2.3/alarms/triggeredChildAlarms/resolve": 204, "GET /api/v2.3/x": 404,
		},
	} {
		s := unlimited(p)
		access, _ := defaultLogin(t, s)
		for request, want := range requests {
			method, path, _ := strings.Cut(request, " ")
			got := do(s, method, path, access, "")
			if got.status != want || want == 200 && !json.Valid([]byte(got.body)) || want == 204 && got.body != "" {
				t.Errorf("%s %s: %d %s", p, request, got.status, got.body)
			}
			if got := do(s, method, path, "", ""); got.status != 401 {
				t.Errorf("%s %s without a token: %d", p, request, got.status)
			}
		}
	}
	s := New(VBR13, WithFourEyes(false))
	access, _ := defaultLogin(t, s)
	if got := do(s, "DELETE", "/api/v1/jobs/x", access, ""); got.status != 204 {
		t.Errorf("without four eyes: %d", got.status)
	}
	do(s, "POST", "/api/v1/jobs/x/start", access, "{}")
	if got := s.Counters().Executed["start x"]; got != 1 {
		t.Errorf("started %d times", got)
	}
}

func TestLogout(t *testing.T) {
	for p, c := range map[Profile]struct {
		request, body string
		status        int
	}{
		VBR12: {"POST /api/oauth2/logout", "{}", 200},
		VBR13: {"POST /api/oauth2/logout", "{}", 200},
		VSPC:  {"DELETE /api/v3/users/UID/tokens", `{"data":null}`, 200},
		Azure: {"DELETE /api/oauth2/token?api-version=8", "", 204},
		AWS:   {"DELETE /api/v1/token", "", 204},
		GCP:   {"DELETE /api/v1/token", "", 204},
		VB365: {"POST /v8/token/logout", "", 204},
	} {
		s := unlimited(p, WithAccount(Account{Username: DefaultUser, Password: DefaultPassword, UID: "UID", ReadOnly: true}), WithAccount(Account{Username: "other", Password: "x"}))
		access, refresh := defaultLogin(t, s)
		second, _ := defaultLogin(t, s)
		other, _ := login(t, s, "other", "x")
		got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh)
		refresh = got.text(t, "refresh_token")

		method, path, _ := strings.Cut(c.request, " ")
		if got := do(s, method, path, "", ""); got.status != 401 {
			t.Errorf("%s: logout without a token: %d", p, got.status)
		}
		if got := do(s, method, path, access, ""); got.status != c.status || got.body != c.body {
			t.Errorf("%s: %d %q", p, got.status, got.body)
		}
		if status(s, access) != 401 || grant(s, "grant_type=refresh_token", "refresh_token="+refresh).status == 200 {
			t.Errorf("%s: the session survived", p)
		}
		if userWide := status(s, second) == 401; userWide != (p == VSPC) {
			t.Errorf("%s: the user's other session: ended %t", p, userWide)
		}
		if status(s, other) != 200 {
			t.Errorf("%s: another user's session was ended", p)
		}
		if n := s.Counters().Logouts; n != 1 {
			t.Errorf("%s: %d logouts", p, n)
		}
	}
}

func TestTestRoutes(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p)
			access, _ := defaultLogin(t, s)
			sum := fmt.Sprintf("%x", sha256.Sum256([]byte("payload")))

			var echo Echo
			got := do(s, "PATCH", s.Base()+"/Echo?a=b%20c", access, "payload", "X-Custom", "v")
			if err := json.Unmarshal([]byte(got.body), &echo); err != nil {
				t.Fatal(err)
			}
			if echo.Method != http.MethodPatch || echo.Path != s.Base()+"/Echo" || echo.Query != "a=b%20c" || echo.Subject != DefaultUser ||
				echo.Length != 7 || echo.SHA256 != sum || echo.Headers[s.carriers()[0]][0] != DefaultUser || echo.Headers["X-Custom"][0] != "v" {
				t.Errorf("echo: %+v", echo)
			}
			if strings.Contains(got.body, access) {
				t.Error("echo shows the token")
			}
			if got := do(s, "PUT", s.Base()+"/upload", access, "payload"); got.body != `{"length":7,"sha256":"`+sum+`"}` {
				t.Errorf("upload: %s", got.body)
			}
			if got := do(s, "GET", s.Base()+"/download?size=200000", access, ""); len(got.body) != 200000 || got.header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("download: %d", len(got.body))
			}
			for range 2 {
				do(s, "POST", s.Base()+"/execute?op=a", access, "payload")
			}
			do(s, "POST", s.Base()+"/execute?op=a", "", "payload")
			for code, want := range map[string]int{"204": 204, "301": 301, "404": 404, "503": 503, "401": 401, "99": 400, "x": 400} {
				if got := do(s, "GET", s.Base()+"/status/"+code, access, ""); got.status != want {
					t.Errorf("status %s: %d", code, got.status)
				}
			}
			if got := do(s, "DELETE", s.Base()+"/always401", access, ""); got.status != 401 {
				t.Errorf("always401: %d", got.status)
			}
			if got := do(s, "GET", s.Base()+"/slow?ms=1", access, ""); got.status != 200 {
				t.Errorf("slow: %d", got.status)
			}
			if got := do(s, "GET", s.Base()+"/stream?chunks=3&ms=0", access, ""); strings.Count(got.body, "data:") != 3 {
				t.Errorf("stream: %q", got.body)
			}
			if got := do(s, "GET", s.Base()+"/websocket", access, ""); got.status != 400 {
				t.Errorf("websocket without upgrade: %d", got.status)
			}
			c := s.Counters()
			if c.Uploaded != 7*4 || c.Downloaded != 200000 || c.Executed["a"] != 2 || c.Unauthorized != 3 || c.Protected != 14 {
				t.Errorf("%+v", c)
			}
			s.ResetCounters()
			if c := s.Counters(); c.Protected != 0 || len(c.Executed) != 0 || c.LiveSessions != 1 {
				t.Errorf("after reset: %+v", c)
			}
		})
	}
}

func TestStrangersLearnNothingBelowTheResources(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p)
			access, _ := defaultLogin(t, s)
			for _, path := range []string{"/nothing", "/jobs/x/y/z"} {
				if got := do(s, "GET", s.Base()+path, "", ""); got.status != 401 {
					t.Errorf("%s without a token: %d", path, got.status)
				}
				if got := do(s, "GET", s.Base()+path, access, ""); got.status != 404 {
					t.Errorf("%s: %d", path, got.status)
				}
			}
			if got := do(s, "GET", "/index.html", "", ""); got.status != 404 {
				t.Errorf("elsewhere: %d", got.status)
			}
			if got := do(s, "PUT", s.TokenPath(), "", ""); got.status != 405 {
				t.Errorf("PUT at the token endpoint: %d", got.status)
			}
		})
	}
}

func TestTwoAuthorizationHeadersAreNone(t *testing.T) {
	s := New(VBR13)
	access, _ := defaultLogin(t, s)
	r := httptest.NewRequest(http.MethodGet, "/api/v1/echo", nil)
	r.Header.Set("x-api-version", version(s))
	r.Header["Authorization"] = []string{"Bearer " + access, "Bearer null"}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d", w.Code)
	}
}
