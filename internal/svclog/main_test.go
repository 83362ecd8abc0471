// This file holds what all tests of the package share.

package svclog

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is a time whose parts all differ.
var noon = time.Date(2022, time.October, 3, 11, 48, 31, 999_000_000, time.Local)

// unmask switches masking off for one control run.
func unmask(tb testing.TB) {
	tb.Helper()
	masking = false
	tb.Cleanup(func() { masking = true })
}

// seedLines returns the seven public lines of a real Svc.ResAPI.log.
func seedLines(tb testing.TB) []string {
	tb.Helper()
	text, err := os.ReadFile("testdata/Svc.ResAPI.log")
	if err != nil {
		tb.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 7 {
		tb.Fatalf("%d lines, not 7", len(lines))
	}
	return lines
}

// postman is the request behind the first of the seven lines.
func postman() *Request {
	body := []byte("grant_type=password&username=benyoung&password=Sixteen%21letters")
	return &Request{
		Method: http.MethodPost,
		Path:   "/api/oauth2/token",
		Body:   MaskBody(nil, "application/x-www-form-urlencoded", "", body, false),
		Host:   "172.30.6.5:9419",
		Header: http.Header{
			"Accept":          {"*/*"},
			"Accept-Encoding": {"gzip, deflate, br"},
			"Connection":      {"keep-alive"},
			"Content-Length":  {"63"},
			"Content-Type":    {"application/x-www-form-urlencoded"},
			"Postman-Token":   {"bb753b8d-214b-4f4a-8ab6-fa8e57a110c8"},
			"User-Agent":      {"PostmanRuntime/7.28.3"},
			"X-Api-Version":   {"1.0-rev1"},
		},
		Thread: 36,
	}
}

// denied is the answer to postman.
func denied() *Response {
	return &Response{
		Method: http.MethodPost,
		Path:   "/api/oauth2/token",
		Status: http.StatusUnauthorized,
		Body:   MaskJSON(nil, []byte(`{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`)),
		Thread: 8,
	}
}

// asJSON is v as JSON, for comparing and searching.
func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
