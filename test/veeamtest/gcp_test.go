// Tests of what Google Cloud has other than AWS.

package veeamtest

import (
	"strings"
	"testing"
)

func TestGCPAtItsTokenEndpoint(t *testing.T) {
	const script = "Username=svc-monitor&Password=monitor-pass-1&refresh_token=&grant_type=Password&mfa_token=&mfa_code="
	for name, c := range map[string]struct {
		path, contentType, version, body string
		options                          []Option
		status                           int
	}{
		"a script's form":             {"/api/v1/token", formType, "", script, nil, 200},
		"with a slash":                {"/api/v1/token/", formType, "1.4-rev0", script, nil, 200},
		"an old revision":             {"/api/v1/token", formType, "1.0-rev0", script, nil, 200},
		"an unknown revision":         {"/api/v1/token", formType, "1.5-rev0", script, nil, 400},
		"a revision wanted":           {"/api/v1/token", formType, "", script, []Option{WithVersionAtToken()}, 400},
		"a revision wanted and there": {"/api/v1/token", formType, "1.1-rev0", script, []Option{WithVersionAtToken()}, 200},
		"MFA":                         {"/api/v1/token", formType, "", "grant_type=password&username=svc-mfa&password=mfa-pass-1", nil, 202},
		"JSON":                        {"/api/v1/token", "application/json", "", `{}`, nil, 415},
		"a wrong password":            {"/api/v1/token", formType, "", "grant_type=password&username=svc-monitor&password=x", nil, 401},
	} {
		s := New(GCP, c.options...)
		got := do(s, "POST", c.path, "", c.body, "Content-Type", c.contentType, "x-api-version", c.version)
		if got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if n := s.Counters(); n.Logins+n.Challenges+n.Refused != 1 || (n.Challenges == 1) != (c.status == 202) || (n.Refused == 1) != (c.status >= 400) {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func TestGCPWantsARevisionElsewhere(t *testing.T) {
	s := New(GCP)
	access, _ := defaultLogin(t, s)
	for version, want := range map[string]int{"": 400, "1.0-rev0": 200, "9.9-rev9": 400} {
		if got := do(s, "GET", "/api/v1/version", access, "", "x-api-version", version); got.status != want {
			t.Errorf("%q: %d %s", version, got.status, got.body)
		}
	}
}

func TestGCPOffersASecondFactorInAnEnvelope(t *testing.T) {
	s := New(GCP)
	access, _ := defaultLogin(t, s)
	got := do(s, "POST", "/api/v1/accounts/users/svc-monitor/mfaEnable", access, `{"recreate":"false"}`)
	response, _ := got.json(t)["response"].(map[string]any)
	if got.status != 200 || keys(response) != "qrString scratchCodes secretKey token" || !strings.HasSuffix(got.body, `,"issues":[]}`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := do(s, "POST", "/api/v1/accounts/users/svc-mfa/mfaEnable", access, `{"recreate":false}`); got.status != 409 {
		t.Errorf("a second factor in place of one without recreate: %d", got.status)
	}
}

func TestGCPCanBeWithoutALogout(t *testing.T) {
	s := New(GCP, WithoutLogout())
	access, _ := defaultLogin(t, s)
	if got := do(s, "DELETE", "/api/v1/token", access, ""); got.status != 405 || status(s, access) != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}
