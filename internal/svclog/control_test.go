// This file holds the control run: with masking off, the same lines hold every
// secret, so a test that looks for secrets can fail.

package svclog

import (
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

// tainted renders everything a request and its answer can carry a canary in.
func tainted() string {
	var l Renderer
	var out []byte
	for _, c := range []struct{ kind, body string }{
		{formType, "username=u&password=canary-form&tail=canary-tail"},
		{formType, "pass%2577ord=canary%2Dencoded"},
		{formType, "a%3D1%26password%3Dcanary-nested"},
		{jsonType, `{"password":"canary-json","n":[{"pass\u0077ord":["canary-list"]}],"code":{"a":"canary-object"}}`},
		{jsonType, `{"m":"Bearer canary-bearer","u":"otpauth://canary-seed","b":"{\"token\":\"canary-inner\"}"}`},
		{"text/plain", "canary-prose"},
		{"application/octet-stream", "canary-octets"},
	} {
		r := &Request{
			User: "Basic canary-user", Method: "POST", Path: "/canary;token=canary-matrix?token=canary-query&code=canary-code",
			Body: MaskBody(nil, c.kind, "", []byte(c.body), false), Host: "h",
			Header: http.Header{
				"Authorization":      {"Bearer canary-header"},
				"Cookie":             {"a=canary-cookie"},
				"X-Restsvcsessionid": {"canary-session"},
				"Referer":            {"https://u:canary-userinfo@h/?token=canary-referer"},
				"X-Key":              {"-----BEGIN KEY-----canary-pem"},
			},
		}
		out = l.AppendRequest(out, noon, zapcore.InfoLevel, r)
	}
	out = l.AppendResponse(out, noon, zapcore.InfoLevel, &Response{
		Method: "GET", Path: "/authentication/keys/rsa?password=canary-pfx", Status: 200, Body: []byte(`{"data":"canary-key"}`),
	})
	out = l.AppendSentence(out, noon, zapcore.InfoLevel, 1, Exception("refused: password=canary-error", "T"),
		[]byte(`{"mfa_code":"canary-field"}`))
	return string(out)
}

var canaries = strings.Fields(`form tail encoded nested json list object bearer seed inner prose octets user matrix query
	code header cookie session userinfo referer pem pfx key error field`)

func TestNoCanaryIsPrinted(t *testing.T) {
	out := tainted()
	for _, canary := range canaries {
		if strings.Contains(out, "canary-"+canary) {
			t.Errorf("canary-%s is printed", canary)
		}
	}
	if !strings.Contains(out, "/canary;token=****?") {
		t.Error("the path is gone")
	}
}

func TestWithoutMaskingEveryCanaryIsPrinted(t *testing.T) {
	unmask(t)
	out := strings.ReplaceAll(tainted(), "%2D", "-")
	for _, canary := range canaries {
		if !strings.Contains(out, "canary-"+canary) {
			t.Errorf("canary-%s is not printed: the test for it cannot fail", canary)
		}
	}
}
