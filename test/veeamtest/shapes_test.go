// Golden tests: the documents of each product, field by field and in order.

package veeamtest

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// masked replaces what differs between runs.
var masks = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+`), "JWT"},
	{regexp.MustCompile(`"mfa_token":"[A-Za-z0-9]{86}=="`), `"mfa_token":"B64"`},
	{regexp.MustCompile(`"refresh_token":"[0-9a-f]{64}"`), `"refresh_token":"HEX"`},
	{regexp.MustCompile(`"refresh_token":"[A-Za-z0-9+/]{64}"`), `"refresh_token":"OPAQUE"`},
	{regexp.MustCompile(`00-[0-9a-f]{32}-[0-9a-f]{16}-00`), "TRACE"},
}

func mask(body string) string {
	for _, m := range masks {
		body = m.find.ReplaceAllString(body, m.with)
	}
	return body
}

func at(d time.Duration) Option {
	return WithClock(func() time.Time { return epoch.Add(d) })
}

func TestTokenAnswers(t *testing.T) {
	const azureTail = `"userId":"UID","username":"svc-monitor","roleName":"PortalAdmin","userType":"Internal","latestNewsShown":true,"mfa_enabled":false,"shortLived":false}`
	for _, c := range []struct {
		name string
		s    *Server
		want string
	}{
		{"vbr 12", New(VBR12, fixed()), `{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":900,".issued":"2026-03-01T14:00:00",".expires":"2026-03-01T14:15:00"}`},
		{"vbr 13", New(VBR13, fixed()), `{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":900,".issued":"2026-03-01T14:00:00+02:00",".expires":"2026-03-01T14:15:00+02:00"}`},
		{
			"vbr with all options", New(VBR13, fixed(), WithAccessLifetime(time.Hour), WithDateStyle(DateUTC), WithUsernameInAnswer()),
			`{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":3600,".issued":"2026-03-01T12:00:00Z",".expires":"2026-03-01T13:00:00Z","username":"svc-monitor"}`,
		},
		{"vbr without dates", New(VBR13, fixed(), WithDateStyle(DateAbsent), WithExpiresInAs("absent")), `{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT"}`},
		{"vspc", New(VSPC, fixed()), `{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","mfa_token":null,"encrypted_code":null,"expires_in":3600}`},
		{
			"azure", New(Azure, at(123456700*time.Nanosecond), WithAccount(Account{Username: DefaultUser, Password: DefaultPassword, UID: "UID"})),
			`{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":3600,".issued":"2026-03-01T12:00:00.1234567Z",".expires":"2026-03-01T13:00:00.1234567Z",` + azureTail,
		},
		{"aws", New(AWS, fixed(), WithZone(time.UTC)), `{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":3600,".issued":"2026-03-01T12:00:00",".expires":"2026-03-01T13:00:00","username":"svc-monitor"}`},
		{"gcp", New(GCP, fixed(), WithZone(time.UTC)), `{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":900,".issued":"2026-03-01T12:00:00",".expires":"2026-03-01T12:15:00"}`},
		{"vb365 8", New(VB365, fixed()), `{"access_token":"JWT","token_type":"bearer","refresh_token":"OPAQUE","expires_in":3600,".issued":"2026-03-01T12:00:00.0000000Z",".expires":"2026-03-01T13:00:00.0000000Z"}`},
		{"vb365 8 with the user", New(VB365, fixed(), WithUsernameInAnswer()), `{"access_token":"JWT","token_type":"bearer","refresh_token":"OPAQUE","expires_in":3600,"userName":"svc-monitor",".issued":"2026-03-01T12:00:00.0000000Z",".expires":"2026-03-01T13:00:00.0000000Z"}`},
		{"vb365 7", New(VB365, fixed(), WithAPIVersions("v6", "v7")), `{"access_token":"JWT","token_type":"bearer","refresh_token":"OPAQUE","expires_in":3600,"userName":"svc-monitor",".issued":"2026-03-01T12:00:00.0000000Z",".expires":"2026-03-01T13:00:00.0000000Z"}`},
		{"one", New(ONE, fixed()), `{"access_token":"JWT","refresh_token":"HEX","token_type":"Bearer","expires_in":899,"user":"svc-monitor","user_role":"Admin"}`},
	} {
		got := grant(c.s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword)
		if mask(got.body) != c.want || got.header.Get("Content-Type") != jsonType {
			t.Errorf("%s:\n got %s\nwant %s", c.name, mask(got.body), c.want)
		}
	}
}

func TestChallenges(t *testing.T) {
	user := WithAccount(Account{Username: DefaultMFAUser, Password: DefaultMFAPassword, TOTPSecret: DefaultTOTPSecret, UID: "UID", Role: "PortalOperator"})
	for p, want := range map[Profile]struct{ challenge, success string }{
		VSPC: {
			`{"access_token":null,"token_type":null,"refresh_token":null,"mfa_token":"B64","encrypted_code":null,"expires_in":0}`,
			`{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","mfa_token":null,"encrypted_code":null,"expires_in":3600}`,
		},
		Azure: {
			`{"token_type":"bearer","expires_in":0,".issued":"0001-01-01T00:00:00Z",".expires":"0001-01-01T00:00:00Z","userId":"UID","username":"svc-mfa","roleName":"PortalOperator","userType":"Internal","latestNewsShown":true,"mfa_enabled":true,"mfa_token":"B64","shortLived":false}`,
			`{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":3600,".issued":"2026-03-01T12:00:00.0000000Z",".expires":"2026-03-01T13:00:00.0000000Z","userId":"UID","username":"svc-mfa","roleName":"PortalOperator","userType":"Internal","latestNewsShown":true,"mfa_enabled":false,"shortLived":false}`,
		},
		GCP: {
			`{"mfa_token":"B64"}`,
			`{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":900,".issued":"2026-03-01T14:00:00",".expires":"2026-03-01T14:15:00"}`,
		},
		AWS: {
			`{"username":"svc-mfa","mfa_enabled":true,"mfa_token":"B64"}`,
			`{"access_token":"JWT","token_type":"bearer","refresh_token":"JWT","expires_in":3600,".issued":"2026-03-01T14:00:00",".expires":"2026-03-01T15:00:00"}`,
		},
	} {
		s := New(p, fixed(), user)
		got := grant(s, "grant_type=password", "username="+DefaultMFAUser, "password="+DefaultMFAPassword)
		if mask(got.body) != want.challenge || got.status != map[bool]int{true: 202, false: 200}[p == GCP] {
			t.Errorf("%s: challenge\n got %s\nwant %s", p, mask(got.body), want.challenge)
		}
		got = grant(s, "grant_type=mfa", "mfa_token="+got.text(t, "mfa_token"), "mfa_code="+codeAt(t, epoch))
		if mask(got.body) != want.success {
			t.Errorf("%s: success\n got %s\nwant %s", p, mask(got.body), want.success)
		}
	}
}

func TestRefusals(t *testing.T) {
	const (
		wrong   = "grant_type=password&username=svc-monitor&password=wrong"
		nobody  = "grant_type=password&username=nobody&password=wrong"
		mfaUser = "grant_type=password&username=svc-mfa&password=mfa-pass-1"
		unknown = "grant_type=client_credentials"
		refresh = "grant_type=refresh_token&refresh_token=x"
	)
	const vbrFailed = `{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`
	const vbrBad = `{"errorCode":"UnexpectedContent","message":"One or more request parameters are not valid.","resourceId":null}`
	for _, c := range []struct {
		p      Profile
		body   string
		status int
		want   string
	}{
		{VBR12, wrong, 401, vbrFailed},
		{VBR13, nobody, 401, vbrFailed},
		{VBR13, mfaUser, 401, vbrFailed},
		{VBR13, unknown, 400, vbrBad},
		{VBR13, "grant_type=mfa&mfa_token=x&mfa_code=1", 400, vbrBad},
		{VBR13, refresh, 401, `{"errorCode":"InvalidToken","message":"The refresh token is not valid.","resourceId":null}`},
		{VSPC, wrong, 400, `{"error":"invalid_request","error_description":"Cannot complete login due to incorrect username or password, or no sufficient rights.","error_uri":null}`},
		{VSPC, unknown, 400, `{"error":"unsupported_grant_type","error_description":"The grant type is not supported.","error_uri":null}`},
		{VSPC, refresh, 400, `{"error":"invalid_grant","error_description":"The refresh token is not valid.","error_uri":null}`},
		{VSPC, "grant_type=password&username=x", 400, `{"error":"invalid_request","error_description":"The parameter password is missing.","error_uri":null}`},
		{VSPC, "grant_type=password&username=x&password=" + strings.Repeat("x", 129), 400, `{"error":"invalid_request","error_description":"The value of password is not valid.","error_uri":null}`},
		{Azure, wrong, 401, `{"type":"https://tools.ietf.org/html/rfc7235#section-3.1","title":"Unauthorized","status":401,"detail":"The user name or password is incorrect.","instance":"/api/oauth2/token","traceId":"TRACE"}`},
		{Azure, unknown, 400, `{"type":"https://tools.ietf.org/html/rfc7231#section-6.5.1","title":"One or more validation errors occurred.","status":400,"traceId":"TRACE","errors":{"grant_type":["The value is not valid."]}}`},
		{AWS, wrong, 401, `{"type":"https://example.com/api/v1/problems/accessDenied","title":"Unauthorized","status":401,"errorCode":"AccessDenied","details":"The user name or password is incorrect.","instance":"/api/v1/token","data":null}`},
		{AWS, "grant_type=refresh_token", 400, `{"type":"https://example.com/api/v1/problems/validationError","title":"Bad Request","status":400,"errorCode":"UnexpectedContent","details":"The field refresh_token is required.","instance":"/api/v1/token","data":null}`},
		{GCP, wrong, 401, `{"type":"https://example.com/api/v1/problems/accessDenied","title":"Unauthorized","status":401,"errorCode":"AccessDenied","details":"The user name or password is incorrect.","instance":"/api/v1/token","data":null}`},
		{VB365, wrong, 401, `{"errorCode":"HttpError","message":"Incorrect user name or password.","stackTrace":null}`},
		{VB365, mfaUser, 401, `{"errorCode":"HttpError","message":"Incorrect user name or password.","stackTrace":null}`},
		{VB365, unknown, 400, `{"errorCode":"ParameterValidationFailure","message":"The grant type is not supported.","stackTrace":null}`},
		{VB365, "grant_type=integration&integration_token=" + VB365IntegrationToken, 400, `{"errorCode":"ParameterValidationFailure","message":"The grant type is not supported.","stackTrace":null}`},
		{VB365, "username=x&password=y", 400, `{"errorCode":"ParameterValidationFailure","message":"The parameter grant_type is missing.","stackTrace":null}`},
		{VB365, refresh, 401, `{"errorCode":"HttpError","message":"The refresh token is not valid.","stackTrace":null}`},
		{ONE, wrong, 400, `{"type":"https://tools.ietf.org/html/rfc7231#section-6.5.1","title":"Bad Request","status":400,"detail":"The user name or password is incorrect.","instance":"/api/token"}`},
		{ONE, mfaUser, 400, `{"type":"https://tools.ietf.org/html/rfc7231#section-6.5.1","title":"Bad Request","status":400,"detail":"The user name or password is incorrect.","instance":"/api/token"}`},
		{ONE, refresh, 400, `{"type":"https://tools.ietf.org/html/rfc7231#section-6.5.1","title":"Bad Request","status":400,"detail":"The refresh token is not valid.","instance":"/api/token"}`},
		{ONE, "grant_type=password&password=x", 400, `{"type":"https://tools.ietf.org/html/rfc7231#section-6.5.1","title":"Bad Request","status":400,"detail":"The field username is required.","instance":"/api/token"}`},
	} {
		s := New(c.p)
		got := do(s, "POST", s.TokenPath(), "", c.body, "Content-Type", formType)
		if got.status != c.status || mask(got.body) != c.want {
			t.Errorf("%s %s:\n got %d %s\nwant %d %s", c.p, c.body, got.status, mask(got.body), c.status, c.want)
		}
		if count := s.Counters(); count.Refused != 1 || count.Logins != 0 {
			t.Errorf("%s %s: %+v", c.p, c.body, count)
		}
	}
}

func TestUnauthorizedDocuments(t *testing.T) {
	expired := func(t *testing.T, s *Server) string {
		t.Helper()
		access, _ := defaultLogin(t, s)
		s.Advance(24 * time.Hour)
		return access
	}
	for _, c := range []struct {
		name string
		s    *Server
		want string
	}{
		{"vbr", New(VBR13), ``},
		{"vbr with documents", New(VBR13, WithVBR401Document()), `{"errorCode":"ExpiredToken","message":"Unauthorized. Get bearer JWT token at /api/login","resourceId":null}`},
		{"vspc", New(VSPC), `{"errors":[{"message":"Authorization is required.","type":"security","code":401}]}`},
		{"azure", New(Azure), `{"type":"https://tools.ietf.org/html/rfc7235#section-3.1","title":"Unauthorized","status":401,"detail":"The access token has expired.","instance":"/api/v8.1/echo","traceId":"TRACE"}`},
		{"aws", New(AWS), `{"type":"https://example.com/api/v1/problems/expiredAccessToken","title":"Unauthorized","status":401,"errorCode":"ExpiredToken","details":"The access token has expired.","instance":"/api/v1/echo","data":null}`},
		{"gcp", New(GCP), `{"type":"https://example.com/api/v1/problems/expiredAccessToken","title":"Unauthorized","status":401,"errorCode":"ExpiredToken","details":"The access token has expired.","instance":"/api/v1/echo","data":null}`},
		{"vb365 8", New(VB365), `{"errorCode":"HttpError","message":"Authorization has been denied for this request.","stackTrace":null}`},
		{"vb365 7", New(VB365, WithAPIVersions("v7")), `{"errorCode":null,"message":"Authorization has been denied for this request."}`},
		{"vb365 6", New(VB365, WithAPIVersions("v6")), `{"message":"Authorization has been denied for this request."}`},
		{"one", New(ONE), `{"type":"https://tools.ietf.org/html/rfc7235#section-3.1","title":"Unauthorized","status":401,"detail":"The access token has expired.","instance":"/api/v2.3/echo"}`},
		{"em", New(EM13), `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<Error xmlns="http://www.veeam.com/ent/v1.0" Message="Unauthorized" StatusCode="401"></Error>`},
	} {
		got := do(c.s, "GET", c.s.Base()+"/echo", expired(t, c.s), "")
		if got.status != 401 || mask(got.body) != c.want {
			t.Errorf("%s:\n got %d %s\nwant %s", c.name, got.status, mask(got.body), c.want)
		}
	}
}

func TestVersionHeader(t *testing.T) {
	for _, c := range []struct {
		p                Profile
		missing, unknown string
	}{
		{
			VBR13, `{"errorCode":"UnexpectedContent","message":"The x-api-version header is required.","resourceId":null}`,
			`{"errorCode":"NotImplemented","message":"The specified API version is not supported.","resourceId":null}`,
		},
		{AWS, `"type":"https://example.com/api/v1/problems/apiVersionUnspecified"`, `"type":"https://example.com/api/v1/problems/unsupportedApiVersion"`},
	} {
		s := New(c.p)
		access, _ := defaultLogin(t, s)
		for _, path := range []string{s.TokenPath(), s.Base() + "/echo"} {
			method := "GET"
			if path == s.TokenPath() {
				method = "POST"
			}
			body := "grant_type=password&username=svc-monitor&password=monitor-pass-1"
			if got := do(s, method, path, access, body, "Content-Type", formType, "x-api-version", ""); got.status != 400 || !strings.Contains(got.body, c.missing) {
				t.Errorf("%s missing: %d %s", path, got.status, got.body)
			}
			if got := do(s, method, path, access, body, "Content-Type", formType, "x-api-version", "9.9-rev9"); got.status != 400 || !strings.Contains(got.body, c.unknown) {
				t.Errorf("%s unknown: %d %s", path, got.status, got.body)
			}
		}
	}
	for _, p := range []Profile{VSPC, Azure, VB365, ONE, EM13} {
		s := New(p)
		access, _ := defaultLogin(t, s)
		if got := do(s, "GET", s.Base()+"/echo", access, "", "x-api-version", "9.9-rev9"); got.status != 200 {
			t.Errorf("%s: %d", p, got.status)
		}
	}
	if got := do(New(VBR12, WithVersionMissingBody("{}")), "GET", "/api/v1/serverTime", "", "", "x-api-version", ""); got.status != 400 || got.body != "{}" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := do(New(VBR12), "GET", "/api/v1/serverTime", "", "", "x-api-version", "1.3-rev2"); got.status != 400 {
		t.Errorf("VBR 12 serves a version of 13: %d", got.status)
	}
}

func claimsOf(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	if _, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{}); err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(token, ".")[:2] {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, []*map[string]any{&header, &claims}[i]); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func TestClaims(t *testing.T) {
	for p, want := range map[Profile]struct{ alg, access, refresh string }{
		VBR13: {"RS512", "aud exp iat jti nbf unique_name", "aud exp iat nbf short_term_expiration token_id unique_name"},
		AWS:   {"RS512", "aud exp iat jti nbf unique_name", "aud exp iat nbf short_term_expiration token_id unique_name"},
		Azure: {"RS512", "aud exp iat jti nameid nbf role unique_name", "aud exp iat jti nameid nbf role unique_name"},
		VSPC:  {"RS256", "exp iat jti kind lid name scope sub ts uid", "exp iat jti kind lid name scope sub ts uid"},
		GCP:   {"RS512", "aud exp iat jti nbf unique_name", "aud exp iat nbf short_term_expiration token_id unique_name"},
	} {
		s := New(p, fixed())
		access, refresh := defaultLogin(t, s)
		header, accessClaims := claimsOf(t, access)
		_, refreshClaims := claimsOf(t, refresh)
		if kid, _ := header["kid"].(string); header["alg"] != want.alg || len(kid) != 40 && want.alg == "RS512" {
			t.Errorf("%s: header %v", p, header)
		}
		if got := keys(accessClaims); got != want.access {
			t.Errorf("%s: access %s", p, got)
		}
		if got := keys(refreshClaims); got != want.refresh {
			t.Errorf("%s: refresh %s", p, got)
		}
		if _, isText := accessClaims["exp"].(string); isText != (p == VSPC) {
			t.Errorf("%s: exp %v", p, accessClaims["exp"])
		}
		if p == Azure && (accessClaims["jti"] != refreshClaims["jti"] || accessClaims["aud"] == refreshClaims["aud"]) {
			t.Errorf("azure: %v %v", accessClaims, refreshClaims)
		}
	}
}

func TestShortRefreshTokens(t *testing.T) {
	s := New(VBR13, fixed())
	got := grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword, "use_short_term_refresh=True")
	_, claims := claimsOf(t, got.text(t, "refresh_token"))
	if claims["short_term_expiration"] != "True" || claims["exp"].(float64) != float64(epoch.Add(30*time.Minute).Unix()) {
		t.Errorf("vbr: %v", claims)
	}
	s = New(GCP, fixed())
	got = grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword, "USE_SHORT_TERM_REFRESH=true")
	_, claims = claimsOf(t, got.text(t, "refresh_token"))
	if claims["short_term_expiration"] != "True" || claims["exp"].(float64)-claims["nbf"].(float64) != 4500 {
		t.Errorf("gcp: %v", claims)
	}
	s = New(Azure, fixed())
	got = grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword, "short_lived_refresh_token=true")
	if got.json(t)["shortLived"] != true {
		t.Error(got.body)
	}
	s.Advance(15 * time.Minute)
	if grant(s, "grant_type=refresh_token", "refresh_token="+got.text(t, "refresh_token")).status == 200 {
		t.Error("a short-lived refresh token lived long")
	}
}
