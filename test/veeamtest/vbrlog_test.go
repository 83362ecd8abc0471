// Tests of the log of a VBR server.

package veeamtest

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestVBRLog(t *testing.T) {
	var log bytes.Buffer
	s := New(VBR12, fixed(), WithLog(&log))
	headers := []string{"Content-Type", formType, "User-Agent", "Test/1", "x-api-version", "1.0-rev1", "Accept", "*/*", "X-Other", "o"}
	do(s, "POST", "/api/oauth2/token", "", "grant_type=password&username=svc-mfa&password=mfa-pass-1", headers...)
	got := do(s, "POST", "/api/oauth2/token", "", "grant_type=password&username=svc-monitor&password=monitor-pass-1", headers...)
	do(s, "GET", "/api/v1/jobs/x?a=b", got.text(t, "access_token"), "", "x-api-version", "1.0-rev1")

	const stamp = "[01.03.2026 14:00:00.000] <36> "
	want := strings.Join([]string{
		`Info         [User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: [grant_type=password&username=svc-mfa&password=****]; Parameters: [x-api-version: 1.0-rev1; X-Other: o; Content-Length: 56; Content-Type: application/x-www-form-urlencoded; Accept: */*; Host: example.com; User-Agent: Test/1; ].`,
		`Info         Current license edition is EnterprisePlus. Checking expiration and type...`,
		`Info         Authenticated user: [.\svc-mfa]`,
		`Error        Login failed for user 'svc-mfa'.`,
		`Error        Failed to create access token.`,
		`Error        Authentication failed (System.Security.Authentication.AuthenticationException)`,
		`Info         [POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`,
		`Info         [User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: [grant_type=password&username=svc-monitor&password=****]; Parameters: [x-api-version: 1.0-rev1; X-Other: o; Content-Length: 64; Content-Type: application/x-www-form-urlencoded; Accept: */*; Host: example.com; User-Agent: Test/1; ].`,
		`Info         Current license edition is EnterprisePlus. Checking expiration and type...`,
		`Info         Authenticated user: [.\svc-monitor]`,
		`Info         [POST /api/oauth2/token]: [200] `,
		`Info         [User: .\svc-monitor][GET] request to [/api/v1/jobs/x] deserialized. Message: []; Parameters: [x-api-version: 1.0-rev1; Authorization: Bearer ****; Host: example.com; ].`,
		`Info         [GET /api/v1/jobs/x]: [404] {"errorCode":"NotFound","message":"Resource does not exist","resourceId":"x"}`,
		``,
	}, "\n")
	if got := strings.ReplaceAll(log.String(), stamp, ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	line := regexp.MustCompile(`^\[(\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}(?:\.\d{3})?)\] <(\d{2,})> (\w+) +(.*)$`)
	for text := range strings.SplitSeq(strings.TrimSpace(log.String()), "\n") {
		if !line.MatchString(text) {
			t.Errorf("no log line: %s", text)
		}
	}
	for _, secret := range append(s.Issued(), DefaultPassword, DefaultMFAPassword) {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}
