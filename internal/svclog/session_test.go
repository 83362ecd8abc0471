// Tests that ids of Enterprise Manager's sessions are masked.

package svclog

import (
	"strings"
	"testing"
)

func TestIDsOfSessionsAreMasked(t *testing.T) {
	const id = "44cfbdbe-5a95-4465-a7b4-520eea4fc219"
	for _, text := range []string{
		"/api/logonSessions/" + id, "/api/LOGONSESSIONS/" + strings.ToUpper(id), "https://em01:9398/api/logonSessions/" + id + "?format=Entity",
		`"Href":"https:\/\/em01:9398\/api\/logonSessions\/` + id + `"`, "/api%2FlogonSessions%2F" + id, `\api\logonSessions\` + id,
		`<LogonSession Href="https://em01/api/logonSessions/` + id + `">`,
	} {
		for _, masked := range []string{string(MaskText(nil, text)), string(MaskPath(nil, text)), maskHeaderValue("Location", text)} {
			if strings.Contains(strings.ToLower(masked), id[9:13]) || !strings.Contains(masked, Mask) {
				t.Errorf("%s became %s", text, masked)
			}
		}
	}
	for _, text := range []string{"/api/jobs/" + id, "/api/logonSessions", "/api/logonSessions/", id} {
		if masked := string(MaskPath(nil, text)); masked != text {
			t.Errorf("%s became %s", text, masked)
		}
	}
	const header = "NDRjZmJkYmUtNWE5NS00NDY1LWE3YjQtNTIwZWVhNGZjMjE5"
	for _, path := range []string{"/api/logonSessions/" + header, "/api/LogonSessions%2f" + header + "?x=1", "/api/logonSessions/" + header + "/x/logonSessions/" + header} {
		if masked := string(MaskPath(nil, path)); strings.Contains(masked, header) || !strings.Contains(masked, Mask) {
			t.Errorf("%s became %s", path, masked)
		}
	}
	for _, path := range []string{"/api/sessionMngr/?v=latest", "/API/logonSessions/" + id, "/api/logonSessions"} {
		if !answersSecret(path) {
			t.Errorf("the answer of %s is shown", path)
		}
	}
	if maskHeaderValue("X-RestSvcSessionId", "abcabcabc") != Mask || maskHeaderValue("Set-Cookie", "X-RestSvcSessionId=abc; Path=/api") != Mask {
		t.Error("a session in a header is shown")
	}
}

func TestDeviceCodesInPathsAreMasked(t *testing.T) {
	const code = "FJC3RJBXK"
	for _, path := range []string{
		"/api/v1/cloudCredentials/appRegistration/" + code, "/api/v1/cloudCredentials/AppRegistration%2F" + code + "?x=1",
		"/api/v3/infrastructure/vb365Servers/1/organizations/deviceCode/" + code + "/status",
	} {
		if masked := string(MaskPath(nil, path)); strings.Contains(masked, code) || !strings.Contains(masked, Mask) || !PathHides(path) {
			t.Errorf("%s became %s", path, masked)
		}
		for _, value := range []string{path, "https://localhost:9419" + path} { // X-Forwarded-Uri, Referer
			if masked := maskHeaderValue("Referer", value); masked != string(MaskPath(nil, value)) || !HeaderHides("Referer", value) {
				t.Errorf("%s in a header became %s", value, masked)
			}
		}
	}
	for _, path := range []string{
		"/api/v1/cloudCredentials/appRegistration", "/v8/DeviceCode/check", "/api/v1/restore/entraId/tenant/deviceCode/state", "/v8/DeviceCode/",
		"/api/v3/infrastructure/vb365Servers/1/organizations/deviceCode",
	} {
		if masked := string(MaskPath(nil, path)); masked != path || PathHides(path) {
			t.Errorf("%s became %s", path, masked)
		}
	}
}

// Servers, or the one spelling in which requests are sent, make the usual path of these.
func TestNoSpellingOfAPathShowsTheSecretInIt(t *testing.T) {
	const code = "FJC3RJBXK"
	for _, path := range []string{
		"/v8//DeviceCode//" + code, "/v8/DeviceCode/./" + code, "/v8/DeviceCode/%2e/" + code, "/v8/DeviceCode/x/../" + code, "/v8/DeviceCode/check/../" + code,
		"/v8/Device%43ode/" + code, "/v8/%64evicecode/" + code + "/x", "/api/logonSessions//" + code, "/api/logon%53essions/" + code, "/api/logonSessions%252F" + code,
		`/api/logonSessions\/` + code, "/api/logonSessions/x/../../logonSessions/" + code, "/v8/DeviceCode/check//devicecode//" + code + "?x=1", "/v8/DeviceCode/" + code + "//",
	} {
		if masked := string(MaskPath(nil, path)); strings.Contains(masked, code) || !strings.Contains(masked, Mask) || !PathHides(path) {
			t.Errorf("%s became %s", path, masked)
		}
	}
	for path, want := range map[string]string{
		"/v8//DeviceCode//check": "/v8//DeviceCode//check", "/v8/DeviceCode//": "/v8/DeviceCode//", "/api/v1//jobs/./1%20": "/api/v1//jobs/./1%20",
		"//api/logonSessions/a%3D": "//api/logonSessions/****",
	} {
		if masked := string(MaskPath(nil, path)); masked != want || PathHides(path) != (want != path) {
			t.Errorf("%s became %s", path, masked)
		}
	}
}

// Whoever sends a long path costs no more than its length.
func TestManySecretsInAPathAreMaskedInNoTime(t *testing.T) {
	const short, long = 1 << 12, 1 << 16
	for _, piece := range []string{"/devicecode/a", "devicecode/", "/devicecode//a"} {
		path := strings.Repeat(piece, long)
		if !PathHides(path) {
			t.Errorf("%.20s… hides nothing", path)
		}
		small, large, fair := inProportion(t, path[:short*len(piece)], path, func(path string) { MaskPath(nil, path); PathHides(path) })
		if !fair {
			t.Errorf("%.20s…: %d pieces take %v, %d pieces %v", path, short, small, long, large)
		}
	}
}
