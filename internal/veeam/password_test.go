// Tests of the password and the refresh grant: what is sent, what is made of the
// documented answers.

package veeam

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

const encodedPassword = "p%2Bw%2F%3D%26+%25%C3%A4%3Bhunter2"

func TestPasswordGrantSendsTheDocumentedRequest(t *testing.T) {
	for _, tt := range []struct {
		product, url, body, versionHeader, version string
		lifetime                                   time.Duration
	}{
		{"vbr", "/api/oauth2/token", "grant_type=password&username=svc-monitor&password=", "x-api-version", "1.1-rev0", 15 * time.Minute},
		{"vspc", "/api/v3/token", "grant_type=password&username=svc-monitor&password=", "X-Client-Version", "", time.Hour},
		{"azure", "/api/oauth2/token", "grant_type=Password&username=svc-monitor&password=", "x-api-version", "", time.Hour},
		{"aws", "/api/v1/token", "grant_type=password&username=svc-monitor&password=", "x-api-version", "1.4-rev0", 15 * time.Minute},
		{"one", "/api/token", "grant_type=password&username=svc-monitor&password=", "x-api-version", "", 899 * time.Second},
		{"gcp", "/api/v1/token", "grant_type=password&username=svc-monitor&password=", "x-api-version", "1.4-rev0", 15 * time.Minute},
	} {
		t.Run(tt.product, func(t *testing.T) {
			c, s := client(t, tt.product, canned{status: 200, body: golden(t, tt.product+"_password.json")})
			c.Header = http.Header{"X-Extra": {"1"}, "authorization": {"Basic x"}}
			token := login(t, c, testAccount())
			got := s.seen[0]
			if got.method != "POST" || got.url != "https://veeam.test:9419"+tt.url || got.body != tt.body+encodedPassword {
				t.Errorf("sent %s %s %s", got.method, got.url, got.body)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
				"Authorization": "", "X-Extra": "1", tt.versionHeader: tt.version,
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s: got %q, want %q", name, got.header.Get(name), want)
				}
			}
			if token.Access.IsZero() || token.Refresh.IsZero() || token.Grant != GrantPassword || token.Shape == nil {
				t.Errorf("token is incomplete: %+v", token)
			}
			if token.Lifetime != tt.lifetime {
				t.Errorf("lifetime: got %v, want %v", token.Lifetime, tt.lifetime)
			}
		})
	}
}

// hasEvery fails the test unless the table has a row for every product but those that are
// named after it.
func hasEvery[V any](t *testing.T, table map[string]V, without ...string) map[string]V {
	t.Helper()
	for _, name := range Names() {
		if _, ok := table[name]; !ok && !slices.Contains(without, name) {
			t.Errorf("the table has no row for %s", name)
		}
	}
	return table
}

// Products that log in by a path of each grant, or by Basic, have tests of their own.
var ownLogins = []string{"vspc35", "em"}

func TestPasswordGrantOptions(t *testing.T) {
	a := testAccount()
	a.Username, a.ReadOnly, a.ShortLived = `LAB\svc`, true, true
	for product, want := range hasEvery(t, map[string]string{
		"vbr":   "&use_short_term_refresh=true",
		"vspc":  "&readOnly=true",
		"azure": "&short_lived_refresh_token=true",
		"aws":   "",
		"gcp":   "&use_short_term_refresh=true",
		"vb365": "",
		"one":   "",
	}, ownLogins...) {
		c, s := client(t, product, canned{status: 200, body: `{"access_token":"a"}`})
		login(t, c, a)
		if !strings.HasSuffix(s.seen[0].body, encodedPassword+want) || !strings.Contains(s.seen[0].body, "username=LAB%5Csvc&") {
			t.Errorf("%s: sent %s", product, s.seen[0].body)
		}
	}
}

func TestConfiguredVersionIsSent(t *testing.T) {
	for product, header := range map[string]string{"vbr": "x-api-version", "vspc": "X-Client-Version", "aws": "x-api-version"} {
		c, s := client(t, product, canned{status: 200, body: `{"access_token":"a"}`})
		c.APIVersion = "1.3-rev1"
		login(t, c, testAccount())
		if got := s.seen[0].header.Get(header); got != "1.3-rev1" {
			t.Errorf("%s: got %q", product, got)
		}
	}
}

func TestRefreshSendsTheDocumentedRequest(t *testing.T) {
	for product, want := range hasEvery(t, map[string]string{
		"vbr":   "grant_type=refresh_token&refresh_token=r%2B1%3D&use_short_term_refresh=true",
		"vspc":  "grant_type=refresh_token&refresh_token=r%2B1%3D&readOnly=true",
		"azure": "grant_type=Refresh_token&refresh_token=r%2B1%3D&short_lived_refresh_token=true",
		"aws":   "grant_type=refresh_token&refresh_token=r%2B1%3D",
		"gcp":   "grant_type=refresh_token&refresh_token=r%2B1%3D&use_short_term_refresh=true",
		"vb365": "grant_type=refresh_token&disable_antiforgery_token=true&refresh_token=r%2B1%3D",
		"one":   "grant_type=refresh_token&refresh_token=r%2B1%3D",
	}, ownLogins...) {
		c, s := client(t, product, canned{status: 200, body: `{"access_token":"a2","refresh_token":"r2","expires_in":60}`})
		a := testAccount()
		a.ReadOnly, a.ShortLived = true, true
		token, err := c.Refresh(context.Background(), a, secret.New("r+1="))
		if err != nil {
			t.Fatal(err)
		}
		if s.seen[0].body != want {
			t.Errorf("%s: sent %s", product, s.seen[0].body)
		}
		if token.Access.Reveal() != "a2" || token.Refresh.Reveal() != "r2" || token.Grant != GrantRefreshToken {
			t.Errorf("%s: got %+v", product, token)
		}
	}
}

func TestRefusedRefreshNamesItsGrant(t *testing.T) {
	for _, a := range []canned{
		{status: 400, body: `{"error":"invalid_grant"}`},
		{status: 401, body: ``},
		{status: 403, body: `{"errorCode":"AccessDenied"}`},
		{status: 400, body: `{"errorCode":"UnexpectedContent"}`},
		{status: 200, body: `{"mfa_token":"m"}`},
	} {
		c, _ := client(t, "vbr", a)
		_, err := c.Refresh(context.Background(), testAccount(), secret.New("r"))
		e := fault(t, err, KindRefused)
		if e.Grant != GrantRefreshToken || !e.CredentialRefused() || strings.Contains(e.Error(), "service account") {
			t.Errorf("%d %s: got %v", a.status, a.body, e)
		}
	}
}

func TestRefreshWithoutARefreshTokenSendsNothing(t *testing.T) {
	c, _ := client(t, "vbr")
	_, err := c.Refresh(context.Background(), testAccount(), secret.Value{})
	fault(t, err, KindAccount)
}

func TestRefreshTokenAsTheAccountsOwnGrant(t *testing.T) {
	c, s := client(t, "vspc", canned{status: 200, body: `{"access_token":"a","expires_in":60}`})
	token := login(t, c, &Account{Name: "x", Grant: GrantRefreshToken, Password: secret.New("seed")})
	if s.seen[0].body != "grant_type=refresh_token&refresh_token=seed" || !token.Refresh.IsZero() {
		t.Errorf("sent %s, got %+v", s.seen[0].body, token)
	}
}

func TestLoginRefusesWhatTheProductDoesNotHave(t *testing.T) {
	all := map[Grant]bool{GrantMFA: true, GrantAPIKey: true, "client_credentials": true}
	for _, p := range products {
		for _, g := range p.Accounts {
			all[g] = true
		}
	}
	for _, product := range Names() {
		for g := range all {
			if lookup(t, product).Accepts(g) {
				continue
			}
			c, _ := client(t, product)
			a := testAccount()
			a.Grant = g
			_, err := c.Login(context.Background(), a)
			if e := fault(t, err, KindAccount); e.Grant != g || e.CredentialRefused() {
				t.Errorf("%s %s: got %v", product, g, e)
			}
		}
	}
	c, _ := client(t, "vbr")
	_, err := c.Login(context.Background(), &Account{Name: "x"})
	fault(t, err, KindAccount)
}

func TestRequestedIsBeforeTheRequestWasSent(t *testing.T) {
	var sent time.Time
	c, _ := client(t, "vbr")
	c.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
		sent = time.Now()
		rec := httptest.NewRecorder()
		rec.WriteString(`{"access_token":"a"}`)
		return rec.Result(), nil
	})
	if token := login(t, c, testAccount()); token.Requested.After(sent) || token.Requested.IsZero() {
		t.Errorf("requested %v, sent %v", token.Requested, sent)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestALogoutByAFormSendsTheRefreshTokenAndTheAccessToken(t *testing.T) {
	token := &Token{Access: secret.New("bearer+1"), Refresh: secret.New("refresh+1"), Grant: GrantPassword}
	for _, answers := range [][]canned{
		{{status: 200}, {status: 200}},
		{{status: 200}, {status: 400}},
		{{status: 400}, {status: 200}},
		{{status: 200}, {status: 401}},
		{{status: 500}, {status: 200}},
		{{status: 200}, {status: 500}},
	} {
		c, s := client(t, "one", answers...)
		err := c.Logout(context.Background(), token)
		if failed := answers[0].status == 500 || answers[1].status == 500; (err != nil) != failed {
			t.Errorf("%+v: %v", answers, err)
		}
		var sent []string
		for _, got := range s.seen {
			if got.method+" "+got.url != "POST https://veeam.test:9419/api/revoke" || got.header.Get("Authorization") != "Bearer bearer+1" {
				t.Errorf("sent %+v", got)
			}
			sent = append(sent, got.body)
		}
		if want := []string{"token=refresh%2B1", "token=bearer%2B1"}; !slices.Equal(sent, want) {
			t.Errorf("sent %q, want %q", sent, want)
		}
	}
}

func TestLogout(t *testing.T) {
	token := &Token{Access: secret.New("bearer-1"), Grant: GrantPassword}
	for product, want := range hasEvery(t, map[string]string{
		"vbr":   "POST https://veeam.test:9419/api/oauth2/logout",
		"azure": "DELETE https://veeam.test:9419/api/oauth2/token",
		"aws":   "DELETE https://veeam.test:9419/api/v1/token",
		"gcp":   "DELETE https://veeam.test:9419/api/v1/token",
		"vb365": "POST https://veeam.test:9419/v8/token/logout",
	}, "vspc", "vspc35", "em", "one") { // the first two have none, the others send more than a bearer
		for _, status := range []int{200, 204, 401} {
			c, s := client(t, product, canned{status: status})
			if err := c.Logout(context.Background(), token); err != nil {
				t.Errorf("%s %d: %v", product, status, err)
			}
			got := s.seen[0]
			if got.method+" "+got.url != want || got.header.Get("Authorization") != "Bearer bearer-1" ||
				got.body != "" || got.header.Get("Content-Type") != "" {
				t.Errorf("%s: sent %+v", product, got)
			}
		}
		for status, kind := range map[int]Kind{500: KindServerFault, 302: KindMalformed, 404: KindProtocol, 403: KindRefused} {
			c, _ := client(t, product, canned{status: status})
			if e := fault(t, c.Logout(context.Background(), token), kind); !strings.Contains(e.Error(), product+" logout failed: ") {
				t.Errorf("got %v", e)
			}
		}
	}
	c, _ := client(t, "vspc")
	if err := c.Logout(context.Background(), token); !errors.Is(err, ErrNoLogout) {
		t.Errorf("vspc: got %v", err)
	}
	c, _ = client(t, "vbr", canned{err: errors.New("connection reset")})
	fault(t, c.Logout(context.Background(), token), KindUnavailable)
}
