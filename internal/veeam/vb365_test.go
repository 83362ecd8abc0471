// Tests of what VB365 has to itself, at the emulator: its versions, its flag, its quota, its grants.

package veeam

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// tap keeps what is sent to a server.
type tap struct {
	to   http.RoundTripper
	seen []seen
}

func (s *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	s.seen = append(s.seen, seen{req.Method, req.URL.Path, string(body), req.Header.Clone()})
	return s.to.RoundTrip(req)
}

// at365 is a client of a VB365 server without a quota.
func at365(t *testing.T, options ...veeamtest.Option) (*Client, *veeamtest.Server, *tap) {
	t.Helper()
	s := veeamtest.New(veeamtest.VB365, append([]veeamtest.Option{veeamtest.WithTokenLimits(0, 0, 0)}, options...)...)
	tapped := &tap{to: s.Transport()}
	return &Client{Product: lookup(t, "vb365"), Transport: tapped, BaseURL: "https://vb365.test:4443"}, s, tapped
}

func account365() *Account {
	return &Account{Name: veeamtest.DefaultUser, Password: secret.New(veeamtest.DefaultPassword)}
}

func TestEveryTokenRequestHasTheConstantFields(t *testing.T) {
	for _, version := range []string{"", "v8", "v7", "v6"} {
		c, s, sent := at365(t)
		c.APIVersion = version
		token := login(t, c, account365())
		next, err := c.Refresh(context.Background(), account365(), token.Refresh)
		if err != nil {
			t.Fatalf("%q: %v", version, err)
		}
		if err := c.MayRead(context.Background(), next); err != nil {
			t.Errorf("%q: %v", version, err)
		}
		if want := "/" + c.version() + "/token"; len(sent.seen) != 3 || sent.seen[0].url != want || sent.seen[1].url != want {
			t.Errorf("%q: %+v", version, sent.seen)
		}
		for _, r := range sent.seen[:2] {
			form, _ := url.ParseQuery(r.body)
			if form.Get("disable_antiforgery_token") != "true" || r.header.Get("Cookie") != "" {
				t.Errorf("%q: sent %s", version, r.body)
			}
		}
		if got := s.Counters(); got.Logins != 1 || got.Refreshes != 1 || got.Refused != 0 {
			t.Errorf("%q: %+v", version, got)
		}
	}
}

func TestASessionEndsAsItsVersionHasIt(t *testing.T) {
	for version, live := range map[string]int{"v8": 0, "v7": 0, "v6": 1} {
		c, s, _ := at365(t, veeamtest.WithAPIVersions(version))
		c.APIVersion = version
		err := c.Logout(context.Background(), login(t, c, account365()))
		if can := live == 0; c.CanLogout() != can || can && err != nil || !can && !errors.Is(err, ErrNoLogout) {
			t.Errorf("%s: %v", version, err)
		}
		if n := s.Counters().LiveSessions; n != live {
			t.Errorf("%s: %d sessions", version, n)
		}
	}
}

func TestTheStatusesOfTheProbeShowAVersion(t *testing.T) {
	for _, status := range []int{200, 401, 403} {
		c, s := client(t, "vb365", canned{status: 404}, canned{status: status})
		if version, err := c.FindVersion(context.Background()); err != nil || version != "v7" || s.seen[1].url != "https://veeam.test:9419/v7/ServiceInstance" {
			t.Errorf("%d: %q %v", status, version, err)
		}
	}
	for _, status := range []int{302, 400, 404, 405} {
		c, _ := client(t, "vb365", canned{status: status}, canned{status: status}, canned{status: status})
		if version, err := c.FindVersion(context.Background()); err != nil || version != "" {
			t.Errorf("%d: %q %v", status, version, err)
		}
	}
	c, s, _ := at365(t, veeamtest.WithAPIVersions("v6", "v7"))
	served, err := c.ServedVersions(context.Background())
	if err != nil || !slices.Equal(served, []string{"v7", "v6"}) {
		t.Errorf("%v %v", served, err)
	}
	if got := s.Counters(); got.TokenRequests != 0 {
		t.Errorf("%+v", got)
	}
}

// An old server is recognised by the versions that it has, and a gate that refuses every path is not one.
func TestAServerIsToldByAVersionThatItHas(t *testing.T) {
	for _, version := range []string{"v6", "v7", "v8"} {
		c, _, _ := at365(t, veeamtest.WithAPIVersions(version))
		identity, err := c.Identify(context.Background())
		if err != nil || identity.Product != c.Product {
			t.Errorf("%s: %+v %v", version, identity, err)
		}
	}
	c, _ := client(t, "vb365", slices.Repeat([]canned{{status: 401, body: `{"message":"no"}`}}, 40)...)
	if identity, err := c.Identify(context.Background()); err != nil || identity.Product != nil {
		t.Errorf("%+v %v", identity, err)
	}
}

func TestAnyStatusMayRefuseACredentialWhereNoneIsDocumented(t *testing.T) {
	for status, want := range map[int]Kind{
		400: KindRefused, 401: KindRefused, 402: KindRefused, 403: KindRefused, 409: KindRefused, 422: KindRefused, 499: KindRefused,
		404: KindProtocol, 408: KindServerFault, 429: KindThrottled, 500: KindServerFault,
	} {
		for _, body := range []string{"", "<html>", `{"message":"x","errorCode":"ParameterValidationFailure","stackTrace":null}`} {
			c, _ := client(t, "vb365", canned{status: status, body: body})
			_, err := c.Login(context.Background(), testAccount())
			if e := fault(t, err, want); e.VersionRefused() != (status == 404) {
				t.Errorf("%d: the version is refused: %t", status, e.VersionRefused())
			}
		}
	}
	for _, status := range []int{400, 401} {
		c, s, _ := at365(t, veeamtest.WithRefusedStatus(status))
		_, err := c.Login(context.Background(), testAccount())
		if e := fault(t, err, KindRefused); e.Status != status || s.Counters().Refused != 1 {
			t.Errorf("%+v", e)
		}
	}
}

func TestA429ThatNamesNoWaitMeansAMinute(t *testing.T) {
	for _, tt := range []struct {
		retryAfter string
		want       time.Duration
	}{{"", time.Minute}, {"7", 7 * time.Second}} {
		c, _ := client(t, "vb365", canned{status: 429, body: `{"message":"Quota Exceeded"}`, header: http.Header{"Retry-After": {tt.retryAfter}}})
		p := &pacer{}
		c.Pacer = p
		_, err := c.Login(context.Background(), testAccount())
		if e := fault(t, err, KindThrottled); e.RetryAfter != tt.want || !slices.Equal(p.told, []time.Duration{tt.want}) {
			t.Errorf("%q: %v, told %v", tt.retryAfter, e.RetryAfter, p.told)
		}
	}
}

func TestAssertionsLogIn(t *testing.T) {
	for _, tt := range []struct {
		grant     Grant
		assertion string
		options   []veeamtest.Option
		want      bool
	}{
		{GrantJWTBearer, veeamtest.DefaultAssertion, nil, true},
		{GrantOperator, veeamtest.DefaultAssertion, nil, true},
		{GrantOperator, veeamtest.DefaultAssertion, []veeamtest.Option{veeamtest.WithOperatorsOnly()}, true},
		{GrantJWTBearer, veeamtest.DefaultAssertion, []veeamtest.Option{veeamtest.WithOperatorsOnly()}, false},
		{GrantOperator, "another", nil, false},
	} {
		c, _, sent := at365(t, tt.options...)
		a := &Account{Name: "restore", Grant: tt.grant, ClientID: veeamtest.DefaultClientID, Password: secret.New(tt.assertion)}
		token, err := c.Login(context.Background(), a)
		if !tt.want {
			fault(t, err, KindRefused)
			continue
		}
		if err != nil || token.Grant != tt.grant {
			t.Fatalf("%+v: %v", tt, err)
		}
		form, _ := url.ParseQuery(sent.seen[0].body)
		if form.Get("grant_type") != c.Product.Values[tt.grant] || form.Get("client_id") != veeamtest.DefaultClientID || form.Get("disable_antiforgery_token") != "true" {
			t.Errorf("%+v: sent %s", tt, sent.seen[0].body)
		}
		if _, err := c.Refresh(context.Background(), a, token.Refresh); err != nil && tt.options == nil {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestAnswersAndErrorsAreThoseOfThePathsVersion(t *testing.T) {
	p := lookup(t, "vb365")
	old := &Shape{Keys: []string{"access_token", "token_type", "refresh_token", "expires_in", ".issued", ".expires"}}
	for path, want := range map[string]struct {
		userName bool
		keys     string
	}{
		"/v8/token": {false, "message errorCode stackTrace"}, "/V7/Token/": {true, "message errorCode"}, "/v6/token": {true, "message"},
		"/v5/Token": {true, "message"}, "/": {true, "message"},
	} {
		for _, shape := range []*Shape{nil, old} {
			for _, user := range []string{"svc", ""} {
				text := string(p.AppendTokenAnswer(nil, Answer{AccessToken: "a", RefreshToken: "r", Lifetime: time.Hour, Username: user, Path: path}, shape))
				if got := strings.Contains(text, `"userName":"`+user+`"`); got != want.userName {
					t.Errorf("%s: %s", path, text)
				}
			}
		}
		body, _ := p.AppendError(nil, Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true, Path: path})
		o, err := readObject(body)
		var keys []string
		for _, m := range o {
			keys = append(keys, m.Key)
		}
		if err != nil || strings.Join(keys, " ") != want.keys {
			t.Errorf("%s: %s", path, body)
		}
	}
	// What the server has at version 8 is repeated there.
	text := string(p.AppendTokenAnswer(nil, Answer{AccessToken: "a", Username: "svc", Path: "/v8/token"}, &Shape{Keys: []string{"access_token", "userName"}}))
	if !strings.Contains(text, `"userName":"svc"`) {
		t.Error(text)
	}
}

func TestClientsOfVB365AreRead(t *testing.T) {
	p := lookup(t, "vb365")
	for _, tt := range []struct {
		contentType, body string
		want              TokenRequest
	}{
		{"application/x-www-form-urlencoded", "grant_type=password&username=u&password=p&refresh_token=%27%27", TokenRequest{Grant: GrantPassword, Username: "u", Password: secret.New("p")}},
		{"application/json", `{"grant_type":"password","username":"u","password":"p","refresh_token":null,"disable_antiforgery_token":true}`, TokenRequest{Grant: GrantPassword, Username: "u", Password: secret.New("p")}},
		{"application/json; charset=utf-8", `{"Grant_Type":"urn:ietf:params:oauth:grant-type:jwt-bearer","client_id":"i","assertion":"a"}`, TokenRequest{Grant: GrantJWTBearer, ClientID: "i", Credential: secret.New("a")}},
		{"", "grant_type=operator&client_id=i&assertion=a", TokenRequest{Grant: GrantOperator, ClientID: "i", Credential: secret.New("a")}},
		{"", "grant_type=integration&integration_token=a", TokenRequest{Grant: "integration"}},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v7/Token", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		got, err := p.ReadTokenRequest(r)
		if err != nil || got.Grant != tt.want.Grant || got.Username != tt.want.Username || !got.Password.Equal(tt.want.Password) ||
			got.ClientID != tt.want.ClientID || !got.Credential.Equal(tt.want.Credential) {
			t.Errorf("%s: %+v %v", tt.body, got, err)
		}
	}
	for path, want := range map[string]Route{
		"/v6/Token": RouteToken, "/V7/TOKEN": RouteToken, "/v8/token/": RouteToken, "/v1/Token": RouteToken, "/v8/token/logout": RouteLogout, "/v7/Token/Logout": RouteLogout,
		"/v6/token/logout": RouteClosed, "/v8/token/AuthCode": RouteClosed, "/v7/token/authcode": RouteClosed, "/token": RouteClosed, "/v8/ServiceInstance": RouteProtected,
	} {
		if got := p.Classify(http.MethodPost, path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
