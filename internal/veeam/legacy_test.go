// Tests of the logins of VSPC before API 3.6.

package veeam

import (
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

const legacySession = `{"data":{"accessToken":"a","refreshToken":"r","mfaToken":null,"expirationTime":"2100-01-01T00:00:00Z"}}`

// parts reads a multipart body.
func parts(t *testing.T, r seen) map[string]string {
	t.Helper()
	mediaType, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/form-data" {
		t.Fatalf("sent %s %v", mediaType, err)
	}
	fields := map[string]string{}
	for reader := multipart.NewReader(strings.NewReader(r.body), params["boundary"]); ; {
		part, err := reader.NextPart()
		if err == io.EOF {
			return fields
		}
		if err != nil {
			t.Fatal(err)
		}
		value, _ := io.ReadAll(part)
		fields[part.FormName()] = string(value)
	}
}

func TestALegacyLoginIsAFormOfPartsAndAnAnswerInAnEnvelope(t *testing.T) {
	c, s := client(t, "vspc35", canned{status: 200, body: legacySession}, canned{status: 200, body: legacySession})
	token := login(t, c, testAccount())
	if token.Access.Reveal() != "a" || token.Refresh.Reveal() != "r" || token.Lifetime != MaxLifetime || token.Grant != GrantPassword {
		t.Errorf("got %+v", token)
	}
	if got, want := parts(t, s.seen[0]), map[string]string{"username": "svc-monitor", "password": testPassword}; !reflect.DeepEqual(got, want) {
		t.Errorf("sent %v", got)
	}
	if _, err := c.Refresh(t.Context(), testAccount(), token.Refresh); err != nil {
		t.Fatal(err)
	}
	if got, want := parts(t, s.seen[1]), map[string]string{"refreshToken": "r"}; !reflect.DeepEqual(got, want) {
		t.Errorf("sent %v", got)
	}
	for i, path := range []string{"usernamepassword", "refresh"} {
		if r := s.seen[i]; r.method != "POST" || !strings.HasSuffix(r.url, "/api/v3/authentication/"+path) {
			t.Errorf("sent %s %s", r.method, r.url)
		}
	}
}

func TestALegacyMFAChallengeIsAnsweredAtTheTokenEndpoint(t *testing.T) {
	c, s := client(t, "vspc35",
		canned{status: 200, body: `{"data":{"accessToken":null,"refreshToken":null,"mfaToken":"m"}}`},
		canned{status: 200, body: golden(t, "vspc_password.json")})
	a := testAccount()
	a.TOTP = newTOTP(t, "JBSWY3DPEHPK3PXP")
	if token := login(t, c, a); token.Grant != GrantMFA {
		t.Errorf("got %+v", token)
	}
	if r := s.seen[1]; !strings.HasSuffix(r.url, "/api/v3/token") || !strings.HasPrefix(r.body, "grant_type=mfa&mfa_token=m&mfa_code=") {
		t.Errorf("sent %s %s", r.url, r.body)
	}
}

func TestALegacyChallengeTravelsAsBytes(t *testing.T) {
	for _, code := range []string{"text+with/plus=", "\x00\xff\x10binary"} {
		sealed, _ := readObject([]byte(challenge(t, PaddingOAEPSHA1, code)))
		c, s := client(t, "vspc35",
			canned{status: 200, body: `{"data":{"challenge":"` + sealed.text("encryptedcode") + `","expirationTime":"2100-01-01T00:00:00Z"}}`},
			canned{status: 200, body: legacySession})
		if token := login(t, c, keyAccount(t, PaddingAuto)); token.Grant != GrantPublicKey {
			t.Errorf("got %+v", token)
		}
		public, err := base64.StdEncoding.DecodeString(keyAccount(t, PaddingAuto).Key.public)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct{ method, body string }{{"POST", string(public)}, {"PATCH", code}} {
			r := s.seen[i]
			if r.method != want.method || r.body != want.body || r.header.Get("Content-Type") != "application/octet-stream" ||
				!strings.HasSuffix(r.url, "/api/v3/authentication/asymmetricalgorithm") {
				t.Errorf("sent %s %s: %q", r.method, r.url, r.body)
			}
		}
	}
}

func TestALegacyRefusalIsOne(t *testing.T) {
	c, _ := client(t, "vspc35", canned{status: 401, body: `{"errors":[{"message":"no","type":"security","code":401}]}`})
	_, err := c.Login(t.Context(), testAccount())
	if e := fault(t, err, KindRefused); e.Code != "security:401" {
		t.Errorf("got %v", e)
	}
}

func TestALegacyRequestNamesItsGrantByItsPath(t *testing.T) {
	p := lookup(t, "vspc35")
	for path, want := range map[string]Grant{
		"/api/v3/authentication/usernamepassword":    GrantPassword,
		"/API/v3//authentication/UserNamePassword/":  GrantPassword,
		"/api/v3/authentication/refresh":             GrantRefreshToken,
		"/api/v3/authentication/asymmetricalgorithm": GrantPublicKey,
		"/api/v3/token": "",
		"/api/v3/authentication/usernamepassword/not": "",
	} {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("username=u&refreshToken=r"))
		r.Header.Set("Content-Type", formType)
		got, err := p.ReadTokenRequest(r)
		if err != nil || got.Grant != want || got.Username != "u" || got.RefreshToken.Reveal() != "r" {
			t.Errorf("%s: got %q, %v", path, got.Grant, err)
		}
		if route := p.Classify("POST", path); (route == RouteToken) != (want != "" || path == "/api/v3/token") {
			t.Errorf("%s is %v", path, route)
		}
	}
}

func TestOurLegacyAnswerIsInAnEnvelope(t *testing.T) {
	p := lookup(t, "vspc35")
	shape := &Shape{Keys: []string{"access_token", "expires_in"}} // of a server that was sent a code
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got := p.AppendTokenAnswer(nil, Answer{AccessToken: "a", RefreshToken: "r", Issued: at, Lifetime: time.Hour}, shape)
	if want := `{"data":{"accessToken":"a","refreshToken":"r","mfaToken":null,"expirationTime":"2026-03-01T13:00:00Z"}}`; string(got) != want {
		t.Errorf("got %s", got)
	}
	body, _ := p.AppendError(nil, Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true})
	if p.Status(Refusal{Reason: ReasonBadCredential, AtTokenEndpoint: true}) != 401 || !strings.HasPrefix(string(body), `{"errors":[{`) {
		t.Errorf("refused with %s", body)
	}
}
