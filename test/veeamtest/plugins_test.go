// Tests of the plug-ins behind VBR 13: whose bearer they take, and what they say to others.

package veeamtest

import (
	"strings"
	"testing"
)

const ahvBase = "/extension/" + AHVInstance + "/api/v9"

func TestPlugInsTakeTheSameBearer(t *testing.T) {
	s := New(VBR13)
	access, _ := defaultLogin(t, s)
	for request, want := range map[string]int{
		"GET " + ahvBase + "/clusters":                                    200,
		"GET /Extension/" + AHVInstance + "/API/V10/jobs":                 200,
		"GET /extension/" + AHVInstance + "/api/v8/restorePoints":         200,
		"POST " + ahvBase + "/jobs/x/start":                               202,
		"POST " + ahvBase + "/restorePoints/restore":                      202,
		"GET " + ahvBase + "/sessions/x":                                  200,
		"GET /extension/0d9f4b77-5b2e-4d6c-9d0a-1f1f1f1f1f1f/api/v9/jobs": 404,
		"GET /extension/" + AHVInstance + "/api/v7/jobs":                  404,
		"GET " + ahvBase + "/nothing":                                     404,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := do(s, method, path, access, "", "x-api-version", ""); got.status != want {
			t.Errorf("%s: %d %s", request, got.status, got.body)
		}
		got := do(s, method, path, "", "", "x-api-version", "")
		if want != 404 && (got.status != 401 || got.body != "System error.") {
			t.Errorf("%s without a token: %d %s", request, got.status, got.body)
		}
	}
	if c := s.Counters(); c.Executed["start x"] != 1 || c.Executed["restore"] != 1 {
		t.Errorf("%+v", c)
	}
	s.RevokeAll()
	if got := do(s, "GET", ahvBase+"/jobs", access, ""); got.status != 401 {
		t.Errorf("with a revoked token: %d", got.status)
	}
}

func TestPlugInsCanAnswerAStrangerWithAPage(t *testing.T) {
	got := do(New(VBR13, WithPlugInPage()), "GET", ahvBase+"/jobs", "nonsense", "")
	if got.status != 401 || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

func TestPlugInsCanWantATokenOfTheirOwn(t *testing.T) {
	s := New(VBR13, WithPlugInTokens())
	access, _ := defaultLogin(t, s)
	if got := do(s, "GET", ahvBase+"/jobs", access, ""); got.status != 401 {
		t.Errorf("with VBR's bearer: %d", got.status)
	}
	post := func(path, bearer, body string) answer {
		return do(s, "POST", path, bearer, body, "Content-Type", formType, "x-api-version", "")
	}
	if got := post("/private-api/oauth2/token", "", "grant_type=password&username=svc-monitor&password=x"); got.status != 401 {
		t.Errorf("a wrong password: %d", got.status)
	}
	private := post("/private-api/oauth2/token", "", "grant_type=password&username=svc-monitor&password=monitor-pass-1").text(t, "access_token")
	if got := do(s, "GET", "/private-api/v1/vbrinfo/extensions", private, "", "x-api-version", ""); got.status != 200 {
		t.Errorf("the list of plug-ins: %d %s", got.status, got.body)
	}
	const exchange = "grant_type=vbr_common_auth&type=AHV&instance_id="
	if got := post("/private-api/oauth2/vbr_extension", access, exchange+AHVInstance); got.status != 401 {
		t.Errorf("an exchange of VBR's bearer: %d", got.status)
	}
	if got := post("/private-api/oauth2/vbr_extension", private, exchange+"x"); got.status != 400 {
		t.Errorf("an exchange for an unknown plug-in: %d", got.status)
	}
	own := post("/private-api/oauth2/vbr_extension", private, exchange+AHVInstance).text(t, "access_token")
	if got := do(s, "GET", ahvBase+"/jobs", own, "", "x-api-version", ""); got.status != 200 {
		t.Errorf("with its own token: %d %s", got.status, got.body)
	}
	for _, foreign := range []string{own, private} {
		if status(s, foreign) != 401 {
			t.Error("a token of elsewhere is good at VBR's API")
		}
	}
	if c := s.Counters(); c.Logins != 3 || c.Refused != 1 || c.LiveSessions != 3 {
		t.Errorf("%+v", c)
	}
}
