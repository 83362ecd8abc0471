package headers

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestAHeaderIsKnownForWhatItIsInEverySpelling(t *testing.T) {
	for name, want := range map[string][3]bool{ // credential, override, relay
		"Authorization": {true, false, false}, "X-Restsvcsessionid": {true, false, false}, "Cookie": {true, false, false},
		"X-Http-Method-Override": {false, true, false}, "X_Http_Method": {false, true, false}, "x-original-url": {false, true, false},
		"X-Forwarded-Path": {false, true, true}, "X-Forwarded-For": {false, false, true}, "Via": {false, false, true}, "X-Envoy-Peer": {false, false, true},
		"Accept": {}, "X-Api-Version": {}, "X": {},
	} {
		if got := [3]bool{IsCredential(name), IsOverride(name), IsRelay(name)}; got != want || Withheld(name) != (want[0] || want[1]) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
	}
}

func TestAnOverrideIsKnownInEverySpelling(t *testing.T) {
	for _, name := range []string{
		"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method", "X-Forwarded-Method", "X-Original-URL",
		"X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Prefix",
		"HTTP-Method-Override", "Method-Override", "X-Method", "X-HTTP-Verb", "X-HTTP-Verb-Override", "X-Verb-Override", "X-HTTP-Path-Override",
		"X-Path-Override", "X-Override-URL", "X-Override-Method", "X-HTTP-MethodOverride", "X-Original-Path", "X-Original-Request-URI", "X-Rewrite-Path",
		"X-Rewritten-URL", "X-Request-URI", "X-Request-Method", "X-URL", "X-URI", "X-Path", "X-Replaced-Path", "X-Envoy-Original-Path", "X-MS-Original-URL",
		"X-WAWS-Unencoded-URL", "X-Forwarded-URL", "X-Forwarded-Verb", "X-Proxy-URL", "Original-URL", "Forwarded-Path", "Path-Override",
	} {
		for _, dash := range []string{"-", "_", "."} {
			spelling := strings.ReplaceAll(name, "-", dash)
			for _, spelling := range []string{spelling, strings.ToLower(spelling), strings.ToUpper(spelling), spelling[:2] + strings.ReplaceAll(spelling[2:], dash, "-")} {
				if !IsOverride(spelling) || !Withheld(spelling) {
					t.Errorf("%s is no override", spelling)
				}
			}
		}
	}
}

func TestOtherHeadersAreNoOverride(t *testing.T) {
	for _, name := range []string{
		"", "X", "-", "Method", "Path", "Url", "Verb", "Http", "Accept", "X-Request-Id", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Original-Host",
		"X-Real-Ip", "Access-Control-Request-Method", "Access-Control-Request-Headers", "X-Requested-With", "X-Api-Version", "Origin", "Forwarded", "X-Path-Id",
		"X-Methodology", "X-Original", "Content-Location", "Referer", "Overrides", "Upgrade", "Host", "Proxy-Connection", "X-Client-Version",
	} {
		if IsOverride(name) {
			t.Errorf("%s is an override", name)
		}
	}
	if n := testing.AllocsPerRun(10, func() { IsOverride("X_http_method-Override") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOnlySecretsThatOtherLogsDoNotMaskKeepARequestOutOfThem(t *testing.T) {
	for name, c := range map[string]struct {
		target   string
		method   string // default: GET
		received string // default: target
		header   http.Header
		want     bool
	}{
		"nothing":             {target: "/x?a=1"},
		"a standard header":   {target: "/x", header: http.Header{"Authorization": {"Bearer canary"}, "Cookie": {"a=canary"}}},
		"a session of Veeam":  {target: "/x", header: http.Header{"X-Restsvcsessionid": {"canary"}}, want: true},
		"another path":        {target: "/x", header: http.Header{"X-Forwarded-Uri": {"/x?a=1"}, "X-Forwarded-Prefix": {"/before"}}},
		"a secret in it":      {target: "/x", header: http.Header{"X-Forwarded-Uri": {"/x?session=canary"}}, want: true},
		"a key":               {target: "/x", header: http.Header{"X-Api-Key": {"canary"}}, want: true},
		"a session":           {target: "/x", header: http.Header{"X-Session-Id": {"canary"}}, want: true},
		"a key in a name":     {target: "/x", header: http.Header{"Vak_0123456789abcdefghijabcdefghij012345": {"x"}}, want: true},
		"a key in the method": {target: "/x", method: "vak_0123456789abcdefghijABCDEFGHIJ012345", want: true},
		"a user in the path":  {target: "//user:canary@localhost/x", want: true},
		"a session asked for": {target: "/x?session=canary", want: true},
		"a session of a job":  {target: "/x?jobSessionId=1&sessionTypeFilter=Job"},
		"a word in the query": {target: "/x?password=canary", want: true},
		"a word in the path":  {target: "/x/password=canary", want: true},
		"a key in the path":   {target: "/x/vak_0123456789abcdefghijABCDEFGHIJ012345", want: true},
		"a JWT in the path":   {target: "/x/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.Y2FuYXJ5", want: true},
		"a user":              {target: "http://user:canary@localhost/x?a=1", want: true},
		"a user without more": {target: "http://vak_0123456789abcdefghijABCDEFGHIJ012345@localhost", want: true},
		"what was rewritten":  {target: "/x", received: "/x?password=canary", want: true},
		"a prefix less":       {target: "/x", received: "/before/x"},
	} {
		r := httptest.NewRequest(http.MethodGet, c.target, http.NoBody)
		r.Header = c.header.Clone()
		r.Method = cmp.Or(c.method, r.Method)
		if c.received == "" {
			c.received = c.target
		}
		if got := StripCredentials(r, c.received); got != c.want {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
		for _, secret := range []string{"canary", "vak_0123", "Y2FuYXJ5"} {
			if strings.Contains(r.RequestURI+r.URL.User.String(), secret) {
				t.Errorf("%s: %s of %v", name, r.RequestURI, r.URL.User)
			}
		}
		if c.target == "http://user:canary@localhost/x?a=1" && r.RequestURI != "/x?a=1" {
			t.Errorf("%s: %s", name, r.RequestURI)
		}
		for header := range r.Header {
			if Withheld(header) {
				t.Errorf("%s: %s stays", name, header)
			}
		}
		MaskOthers(r.Header)
		if len(r.Header) > 0 {
			t.Errorf("%s: %v", name, r.Header)
		}
	}
}

// What the server needs to answer is sent on, whatever it is called.
func TestHeadersThatAConnectionNeedsAreSentOn(t *testing.T) {
	header := http.Header{
		"Sec-Websocket-Protocol": {"access_token, canary"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Idempotency-Key": {"a"},
		"X-Long": {strings.Repeat("x", 5000) + " password=canary"}, "X-Functions-Key": {"canary"},
	}
	want := header.Clone()
	delete(want, "X-Functions-Key")
	want["X-Long"] = []string{strings.Repeat("x", 5000) + " password=****"}
	if MaskOthers(header); !reflect.DeepEqual(header, want) {
		t.Error(header)
	}
	if !StripCredentials(&http.Request{Header: header, URL: new(url.URL)}, "") {
		t.Error("a token in a subprotocol does not keep the request out of other logs")
	}
}

func TestWhatSaysThatARequestMayBeRepeatedIsNotReadByNetHTTP(t *testing.T) {
	header := http.Header{"Idempotency-Key": {"a"}, "X-Idempotency-Key": {"b", "c"}, "X-A": {"d"}}
	SentOnce(header)
	want := map[string][]string{"idempotency-key": {"a"}, "x-idempotency-key": {"b", "c"}, "X-A": {"d"}}
	if !reflect.DeepEqual(map[string][]string(header), want) {
		t.Error(header)
	}
}
