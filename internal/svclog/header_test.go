// This file holds the tests of the header list: order, spelling, masking, limits.

package svclog

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func headers(r *Request) string { return string(appendHeaders(nil, r, false)) }

func TestHeadersStandInTheOrderOfHTTPSysBehindTheUnknownOnes(t *testing.T) {
	header := make(http.Header)
	for i, name := range sysOrder {
		header.Set(name, strconv.Itoa(i))
	}
	header.Set("x-zebra", "z")
	header.Set("x-request-id", "r")
	header.Set("postman-token", "p")
	header.Set("x-api-version", "v")
	got := headers(&Request{Header: header, Host: "h"})
	want := "x-api-version: v; Postman-Token: p; X-Request-id: r; X-Zebra: z; "
	for i, name := range sysOrder {
		value := strconv.Itoa(i)
		switch name {
		case "Authorization", "Cookie", "Proxy-Authorization":
			value = Mask
		case "Host":
			value = "h"
		}
		want += name + ": " + value + "; "
	}
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestHeaderListForms(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		host   string
		want   string
	}{
		"nothing":         {nil, "", ""},
		"host only":       {nil, "h:1", "Host: h:1; "},
		"host twice":      {http.Header{"Host": {"x"}}, "h", "Host: h; "},
		"several values":  {http.Header{"Accept": {"a", "b;q=0.5, c"}}, "", "Accept: a, b;q=0.5, c; "},
		"empty value":     {http.Header{"Accept": {""}, "X-A": {}}, "", "X-A: ; Accept: ; "},
		"parameters":      {http.Header{"Content-Type": {"a/b; charset=utf-8"}}, "", "Content-Type: a/b; charset=utf-8; "},
		"forged header":   {http.Header{"X-A": {"b; Host: evil"}}, "h", `X-A: b\u003b Host: evil; Host: h; `},
		"forged list end": {http.Header{"X-A": {"]; Parameters: [B: c; "}}, "", `X-A: ]\u003b Parameters: [B: c; ; `},
		"named so":        {http.Header{"X-A": {"]"}, "Parameters": {"["}}, "", "parameters: [; X-A: ]; "},
		"no names":        {http.Header{"": {"a"}, "b c:": {"d"}}, "", "_: a; b_c_: d; "},
		"IPv6":            {nil, "[::1]", "Host: [::1]; "},
	} {
		if got := headers(&Request{Header: c.header, Host: c.host}); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", name, got, c.want)
		}
	}
}

func TestMaskHeaderValue(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"Authorization", "Bearer abc", "Bearer ****"},
		{"authorization", "basic dXNlcjpwYXNz", "basic ****"},
		{"Authorization", "Negotiate  YII=", "Negotiate ****"},
		{"Authorization", "Bearer", "****"},
		{"Authorization", "hunter2 hunter3", "****"},
		{"Proxy-Authorization", "Digest username=\"a\"", "Digest ****"},
		{"X-Forwarded-Authorization", "Bearer abc", "Bearer abc"[:7] + "****"},
		{"X-Forwarded-Authorization", "Negotiate YII=", "Negotiate ****"},
		{"X-Authorization", "hunter2", "****"},
		{"X-Original-Cookie", "a=hunter2", "****"},
		{"X-Authorization-Mode", "local", "local"},
		{"Cookie", "a=b; X-RestSvcSessionId=c", "****"},
		{"Set-Cookie", "a=b", "****"},
		{"X-RestSvcSessionId", "abc", "****"},
		{"X-OTP-TOKEN", "123456", "****"},
		{"x-csrf-token", "abc", "****"},
		{"X-Api-Key", "Bearer abc", "****"},
		{"X-Vault-Token", "abc", "****"},
		{"X-Amz-Security-Token", "abc", "****"},
		{"Postman-Token", "abc", "abc"},
		{"x-api-version", "1.2-rev1", "1.2-rev1"},
		{"X-Client-Version", "3.6.1", "3.6.1"},
		{"Content-Type", "application/json; charset=utf-8", "application/json; charset=utf-8"},
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) a/1.2.3", "Mozilla/5.0 (X11; Linux x86_64) a/1.2.3"},
		{"Referer", "https://h/a?token=abc&b=c", "https://h/a?token=****&b=c"},
		{"Referer", "https://h/a?x=https%3A%2F%2Fi%3Ftoken%3Dabc", "****"},
		{"X-Original-Url", "/token?code=123456", "/token?code=****"},
		{"X-Debug", someJWT, "****"},
		{"X-Debug", `{"password":"x"}`, `{"password":"****"}`},
		{"If-None-Match", `W/"abc=="`, `W/"abc=="`},
	} {
		if got := maskHeaderValue(c.name, c.value); got != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.name, c.value, got, c.want)
		}
	}
}

func TestLongHeadersAreCutAndManyAreCounted(t *testing.T) {
	long := strings.Repeat("x", headerValueLimit)
	got := headers(&Request{Header: http.Header{"X-A": {long + "yz"}, "X-B": {long}}})
	if want := "X-A: " + long + "<cut after 2048 bytes>; X-B: " + long + "; "; got != want {
		t.Errorf("%d bytes", len(got))
	}
	got = headers(&Request{Header: http.Header{"X-A": {long, long, "c", "d", "e"}}})
	if want := "X-A: " + long + ", " + long + ", <3 more, not shown>; "; got != want {
		t.Errorf("%d bytes …%s", len(got), got[len(got)-60:])
	}
	header := make(http.Header)
	for i := range 50000 {
		header.Set("X-"+strconv.Itoa(i), "v")
	}
	got = headers(&Request{Header: header, Host: "h"})
	if len(got) > headerListLimit+100 || !strings.Contains(got, "; More: <") {
		t.Errorf("%d bytes …%s", len(got), got[len(got)-60:])
	}
	shown := strings.Count(got, "; ") - 1
	if !strings.Contains(got, "More: <"+strconv.Itoa(50001-shown)+" headers, not shown>; ") {
		t.Errorf("%d shown, …%s", shown, got[len(got)-60:])
	}
}
