// Tests of the refusals of veeam-auth.

package veeam

import (
	"encoding/json"
	"regexp"
	"testing"
	"time"
)

var traceID = regexp.MustCompile(`00-[0-9a-f]{32}-[0-9a-f]{16}-00`)

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		product string
		refusal Refusal
		status  int
		body    string
	}{
		// The very bytes that the server itself logs for a refused login.
		{"vbr", Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true}, 401, golden(t, "vbr_refused.json")},
		{"vbr", Refusal{Reason: ReasonDenied}, 403, `{"errorCode":"AccessDenied","message":"Forbidden (denied)","resourceId":null}`},
		{
			"vbr",
			Refusal{Reason: ReasonExpiredToken, Message: `say "<why>"`},
			401,
			`{"errorCode":"ExpiredToken","message":"say \"<why>\" (expired_token)","resourceId":null}`,
		},
		{
			"vbr",
			Refusal{Reason: ReasonCredentialRefused, Status: 502},
			502,
			`{"errorCode":"ServiceUnavailable","message":"There is no session with the server at present. (credential_refused)","resourceId":null}`,
		},
		{
			"vspc",
			Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true},
			400,
			`{"error":"invalid_request","error_description":"Cannot complete login due to incorrect username or password, or no sufficient rights.","error_uri":null}`,
		},
		{
			"vspc",
			Refusal{Reason: ReasonBadRefreshToken, AtTokenEndpoint: true},
			400,
			`{"error":"invalid_grant","error_description":"The refresh token is invalid or has expired. (bad_refresh_token)","error_uri":null}`,
		},
		{
			"vspc",
			Refusal{Reason: ReasonUnsupportedGrant, AtTokenEndpoint: true, Message: "m"},
			400,
			`{"error":"unsupported_grant_type","error_description":"m (unsupported_grant)","error_uri":null}`,
		},
		{"vspc", Refusal{Reason: ReasonNoToken, Message: "m"}, 401, `{"errors":[{"message":"m (no_token)","type":"security","code":401}]}`},
		{
			"vspc",
			Refusal{Reason: ReasonThrottled, Message: "m", RetryAfter: 24*time.Second + 1},
			429,
			`{"errors":[{"message":"m (throttled)","type":"transport","code":429,"retryAfter":25}]}`,
		},
		{"vspc", Refusal{Reason: ReasonUnreachable, Message: "m"}, 520, `{"errors":[{"message":"m (unreachable)","type":"transport","code":520}]}`},
		{"vspc", Refusal{Reason: "no such reason", Message: "m"}, 520, `{"errors":[{"message":"m (internal)","type":"unspecified","code":520}]}`},
		{
			"azure",
			Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true},
			401,
			`{"type":"https://httpstatuses.io/401","title":"Unauthorized","status":401,"detail":"Authentication failed","instance":null,"traceId":"T"}`,
		},
		{
			"azure",
			Refusal{Reason: ReasonBadRequest, Message: "m"},
			400,
			`{"type":"https://httpstatuses.io/400","title":"Bad Request","status":400,"detail":"m (bad_request)","errors":{},"traceId":"T"}`,
		},
		{
			"azure",
			Refusal{Reason: ReasonDenied, Message: "m"},
			403,
			`{"type":"https://httpstatuses.io/403","title":"Forbidden","status":403,"detail":"m (denied)","instance":null,"licenseAgreementAcceptanceRequired":false,"traceId":"T"}`,
		},
		{
			"aws",
			Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true},
			401,
			`{"type":"/api/v1/problems/accessDenied","title":"Unauthorized","status":401,"errorCode":"AccessDenied","details":"Authentication failed","instance":null,"data":null}`,
		},
		{
			"one",
			Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true},
			400,
			`{"type":"https://tools.ietf.org/html/rfc7231#section-6.5.1","title":"Bad Request","status":400,"detail":"Authentication failed","instance":null}`,
		},
		{
			"gcp",
			Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true},
			401,
			`{"type":"/api/v1/problems/accessDenied","title":"Unauthorized","status":401,"errorCode":"AccessDenied","details":"Authentication failed","instance":null,"data":null}`,
		},
		{
			"aws",
			Refusal{Reason: ReasonBadToken, Message: "m", Status: 599},
			599,
			`{"type":"/api/v1/problems/invalidAccessToken","title":"Error","status":599,"errorCode":"InvalidToken","details":"m (bad_token)","instance":null,"data":null}`,
		},
	} {
		p := lookup(t, tt.product)
		if got := p.Status(tt.refusal); got != tt.status {
			t.Errorf("%s %+v: status %d, want %d", tt.product, tt.refusal, got, tt.status)
		}
		body, _ := p.AppendError(nil, tt.refusal)
		if got := traceID.ReplaceAllString(string(body), "T"); got != tt.body {
			t.Errorf("%s %+v:\ngot  %s\nwant %s", tt.product, tt.refusal, got, tt.body)
		}
	}
}

// A client of veeam-auth may be this client: it must take its refusals for what
// they are.
func TestRefusalsAreUnderstoodByAClient(t *testing.T) {
	want := map[Reason]Kind{
		ReasonBadCredential: KindRefused, ReasonBadRefreshToken: KindRefused,
		ReasonThrottled: KindThrottled, ReasonUnreachable: KindServerFault,
		ReasonCredentialRefused: KindServerFault, ReasonInternal: KindServerFault, ReasonDenied: KindRefused,
	}
	types := map[string]string{
		"vbr": contentJSON, "vspc": contentJSON, "vspc35": contentJSON, "azure": contentProblem, "aws": contentProblem,
		"gcp": contentProblem, "vb365": contentJSON, "one": contentProblem,
		"em": contentJSON,
	}
	for reason := range reasonRows {
		for _, p := range products {
			r := Refusal{Reason: reason, AtTokenEndpoint: true, RetryAfter: time.Minute, Format: FormatCamel}
			body, contentType := p.AppendError([]byte("x"), r)
			if body[0] != 'x' || !json.Valid(body[1:]) || contentType != types[p.Name] {
				t.Errorf("%s %s: %s %s", p.Name, reason, contentType, body)
			}
			if kind, ok := want[reason]; ok {
				e := p.readRefusal(&answer{status: p.Status(r), body: body[1:]}, GrantRefreshToken, nil)
				if e.Kind != kind {
					t.Errorf("%s %s: got %v, want %v", p.Name, reason, e, kind)
				}
			}
		}
	}
}

func TestLogoutAnswers(t *testing.T) {
	for _, want := range []struct {
		product, path string
		status        int
		body          string
	}{
		{"vbr", "/api/oauth2/logout", 200, "{}"},
		{"vspc", "/api/v3/users/1/tokens", 200, "{}"},
		{"azure", "/api/oauth2/token", 204, ""},
		{"aws", "/api/v1/token", 204, ""},
		{"gcp", "/api/v1/token", 204, ""},
		{"one", "/api/revoke", 200, ""},
		{"vb365", "/v7/token/logout", 200, ""},
		{"vb365", "/V8/Token/Logout/", 204, ""},
	} {
		status, body := lookup(t, want.product).Logout(want.path)
		if status != want.status || string(body) != want.body {
			t.Errorf("%s %s: got %d %q", want.product, want.path, status, body)
		}
	}
}
