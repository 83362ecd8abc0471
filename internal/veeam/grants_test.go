// Tests of the grants beside password, MFA and refresh.

package veeam

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// parent hands over sessions whose tokens are numbered.
func parent(refused *[]string) func(context.Context, *Token) (*Token, error) {
	n := 0
	return func(_ context.Context, r *Token) (*Token, error) {
		if r != nil {
			*refused = append(*refused, r.Access.Reveal())
		}
		n++
		return &Token{
			Access:  secret.New(fmt.Sprintf("parent-access-%d", n)),
			Refresh: secret.New(fmt.Sprintf("parent-refresh-%d", n)),
		}, nil
	}
}

func TestAuthorizationCodeThroughAParent(t *testing.T) {
	for product, want := range map[string]string{
		"vbr": "https://veeam.test:9419/api/oauth2/authorization_code",
		"aws": "https://veeam.test:9419/api/v1/token/authorization_code",
	} {
		var refused []string
		created := golden(t, "aws_code_created.json")
		c, s := client(t, product, canned{status: 200, body: created},
			canned{status: 200, body: golden(t, "aws_authorization_code.json")})
		a := &Account{Name: "x", Grant: GrantAuthorizationCode, Parent: parent(&refused)}
		token := login(t, c, a)
		if token.Grant != GrantAuthorizationCode || token.Access.IsZero() || len(refused) != 0 {
			t.Errorf("%s: got %+v", product, token)
		}
		create := s.seen[0]
		if create.method != "POST" || create.url != want || create.body != "" ||
			create.header.Get("Authorization") != "Bearer parent-access-1" || create.header.Get("x-api-version") == "" {
			t.Errorf("%s: sent %+v", product, create)
		}
		o, _ := readObject([]byte(created))
		if want := "grant_type=authorization_code&code=" + url.QueryEscape(o.text("code")); s.seen[1].body != want {
			t.Errorf("%s: sent %s, want %s", product, s.seen[1].body, want)
		}
		if s.seen[1].header.Get("Authorization") != "" {
			t.Errorf("%s: the code is redeemed with a bearer", product)
		}
	}
}

func TestAuthorizationCodeUnderTheOtherPath(t *testing.T) {
	var refused []string
	c, s := client(t, "aws", canned{status: 404}, canned{status: 200, body: `{"Code":"c"}`}, canned{status: 200, body: `{"access_token":"a"}`})
	login(t, c, &Account{Name: "x", Grant: GrantAuthorizationCode, Parent: parent(&refused)})
	if !strings.HasSuffix(s.seen[1].url, "/api/v1/token/authorizationCode") {
		t.Errorf("sent %s", s.seen[1].url)
	}
}

func TestAuthorizationCodeThatCannotBeCreated(t *testing.T) {
	for _, tt := range []struct {
		product string
		answers []canned
		want    Kind
		hint    string
	}{
		{"vbr", []canned{{status: 404}}, KindProtocol, "grant password"},
		{"vbr", []canned{{status: 405}}, KindProtocol, "grant password"},
		{"aws", []canned{{status: 404}, {status: 404}}, KindProtocol, "grant password"},
		{"aws", []canned{{status: 405}}, KindProtocol, ""},
		{"aws", []canned{{status: 200, body: `{}`}}, KindMalformed, ""},
		{"aws", []canned{{status: 302}}, KindMalformed, ""},
		{"aws", []canned{{status: 503}}, KindServerFault, ""},
		{"aws", []canned{{err: errors.New("reset")}}, KindUnavailable, ""},
		{"aws", []canned{{status: 401}, {status: 401}}, KindRefused, ""}, // both sessions of the parent
	} {
		var refused []string
		c, _ := client(t, tt.product, tt.answers...)
		_, err := c.Login(context.Background(), &Account{Name: "x", Grant: GrantAuthorizationCode, Parent: parent(&refused)})
		e := fault(t, err, tt.want)
		if e.Grant != GrantAuthorizationCode || e.Product != tt.product || !strings.Contains(e.Hint, tt.hint) {
			t.Errorf("%+v: got %v", tt.answers, e)
		}
		if tt.want == KindRefused && len(refused) != 1 {
			t.Errorf("the parent was told of %v", refused)
		}
	}
	c, _ := client(t, "azure")
	_, err := c.CreateCode(context.Background(), &Token{})
	fault(t, err, KindAccount)
}

func TestAuthorizationCodeOfTheAccount(t *testing.T) {
	c, s := client(t, "vbr", canned{status: 200, body: `{"access_token":"a"}`})
	login(t, c, &Account{Name: "x", Grant: GrantAuthorizationCode, Password: secret.New("a+b/c=")})
	if s.seen[0].body != "grant_type=authorization_code&code=a%2Bb%2Fc%3D" {
		t.Errorf("sent %s", s.seen[0].body)
	}
	c, _ = client(t, "vbr")
	_, err := c.Login(context.Background(), &Account{Name: "x", Grant: GrantAuthorizationCode})
	fault(t, err, KindAccount)
}

func TestFaultOfTheParentIsPassedOn(t *testing.T) {
	cause := &Error{Kind: KindThrottled, Product: "vspc", RetryAfter: time.Minute}
	c, _ := client(t, "vspc")
	_, err := c.Login(context.Background(), &Account{
		Name: "x", Grant: GrantAs, UserUID: "u",
		Parent: func(context.Context, *Token) (*Token, error) { return nil, cause },
	})
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "parent") {
		t.Errorf("got %v", err)
	}
}

const userUID = "0B1F6E1C-5A77-4C2B-9C57-2B6DBB0DAE10"

func asAccount(refused *[]string) *Account {
	return &Account{Name: "tenant", Grant: GrantAs, UserUID: userUID, Parent: parent(refused), ReadOnly: true}
}

func TestAs(t *testing.T) {
	for _, claims := range []string{
		`{"sub":"0b1f6e1c-5a77-4c2b-9c57-2b6dbb0dae10","exp":"1745501958"}`,
		`{"sub":"x","uid":"{0B1F6E1C-5A77-4C2B-9C57-2B6DBB0DAE10}"}`,
	} {
		var refused []string
		c, s := client(t, "vspc", canned{status: 200, body: `{"access_token":"` + jwt(claims) + `","refresh_token":"r","expires_in":3600}`})
		token := login(t, c, asAccount(&refused))
		if want := "grant_type=as&refresh_token=parent-refresh-1&userUid=" + userUID + "&readOnly=true"; s.seen[0].body != want {
			t.Errorf("sent %s", s.seen[0].body)
		}
		if token.Grant != GrantAs || token.Refresh.Reveal() != "r" {
			t.Errorf("got %+v", token)
		}
	}
}

func TestAsWithAParentWhoseRefreshTokenIsUsedUp(t *testing.T) {
	var refused []string
	c, s := client(t, "vspc", canned{status: 400, body: `{"error":"invalid_grant"}`},
		canned{status: 200, body: `{"access_token":"` + jwt(`{"sub":"`+userUID+`"}`) + `"}`})
	login(t, c, asAccount(&refused))
	if len(refused) != 1 || refused[0] != "parent-access-1" || !strings.Contains(s.seen[1].body, "parent-refresh-2") {
		t.Errorf("parent told of %v, sent %+v", refused, s.seen)
	}
}

// The server is asked whose session an opaque token is.
func TestAnOpaqueTokenIsUsedForItsUserOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		me     string
		want   Kind
	}{
		"the user":     {200, `{"data":{"instanceUid":"` + strings.ToUpper(userUID) + `"}}`, 0},
		"the parent":   {200, `{"data":{"instanceUid":"11111111-5a77-4c2b-9c57-2b6dbb0dae10"}}`, KindWrongUser},
		"nobody":       {200, `{"data":{}}`, KindMalformed},
		"not allowed":  {403, `{"errors":[{"message":"no"}]}`, KindForbidden},
		"not answered": {404, `{}`, KindProtocol},
	} {
		var refused []string
		c, s := client(t, "vspc", canned{status: 200, body: `{"access_token":"opaque","refresh_token":"r"}`}, canned{status: tc.status, body: tc.me})
		token, err := c.Login(context.Background(), asAccount(&refused))
		if len(s.seen) != 2 || !strings.HasSuffix(s.seen[1].url, "/api/v3/users/me") {
			t.Errorf("%s: asked %+v", name, s.seen)
		}
		if tc.want == 0 {
			if err != nil || token == nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if e := fault(t, err, tc.want); token != nil || e.Grant != GrantAs {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestATokenOfAnotherUserIsNotUsed(t *testing.T) {
	for name, access := range map[string]string{
		"the parent":  jwt(`{"sub":"11111111-5a77-4c2b-9c57-2b6dbb0dae10"}`),
		"no claims":   jwt(`{}`),
		"odd claims":  jwt(`{"sub":7,"uid":null}`),
		"empty claim": jwt(`{"sub":""}`),
	} {
		var refused []string
		body := `{"access_token":"` + access + `","refresh_token":"r"}`
		c, s := client(t, "vspc", canned{status: 200, body: body}, canned{status: 200, body: body})
		token, err := c.Login(context.Background(), asAccount(&refused))
		if e := fault(t, err, KindWrongUser); e.Grant != GrantAs || token != nil || len(s.seen) != 1 {
			t.Errorf("%s: got %v", name, e)
		}
		token, err = c.Refresh(context.Background(), asAccount(&refused), secret.New("r"))
		if e := fault(t, err, KindWrongUser); e.Grant != GrantRefreshToken || token != nil {
			t.Errorf("%s: got %v", name, e)
		}
	}
}

func TestAsNeedsItsSettings(t *testing.T) {
	var refused []string
	without := asAccount(&refused)
	without.UserUID = ""
	for _, a := range []*Account{{Name: "x", Grant: GrantAs, UserUID: userUID}, without} {
		c, _ := client(t, "vspc")
		_, err := c.Login(context.Background(), a)
		fault(t, err, KindAccount)
	}
	c, _ := client(t, "vspc")
	calls := 0
	_, err := c.Login(context.Background(), &Account{
		Name: "x", Grant: GrantAs, UserUID: userUID,
		Parent: func(context.Context, *Token) (*Token, error) {
			calls++
			return &Token{Access: secret.New("a")}, nil
		},
	})
	if fault(t, err, KindRefused); calls != 2 {
		t.Errorf("the parent was asked %d times", calls)
	}
}

func TestAPIKeyIsABearer(t *testing.T) {
	c, s := client(t, "vspc")
	token := login(t, c, &Account{Name: "x", Grant: GrantAPIKey, Password: secret.New("the-key")})
	if token.Access.Reveal() != "the-key" || token.Lifetime != MaxLifetime || token.Grant != GrantAPIKey ||
		token.Requested.IsZero() || !token.Refresh.IsZero() || len(s.seen) != 0 {
		t.Errorf("got %+v", token)
	}
	if err := c.Logout(context.Background(), token); !errors.Is(err, ErrNoLogout) {
		t.Errorf("got %v", err)
	}
	for _, key := range []string{"", "two words", "line\n"} {
		_, err := c.Login(context.Background(), &Account{Name: "x", Grant: GrantAPIKey, Password: secret.New(key)})
		fault(t, err, KindAccount)
	}
}

func TestFederatedLogins(t *testing.T) {
	for g, want := range map[Grant]string{
		GrantSAML:         "grant_type=Saml&saml_response=PHNhbWw%2BPC8%3D&short_lived_refresh_token=true",
		GrantSSOToken:     "grant_type=SsoToken&sso_token=PHNhbWw%2BPC8%3D&short_lived_refresh_token=true",
		GrantUpdaterToken: "grant_type=Updater_token&updater_token=PHNhbWw%2BPC8%3D&short_lived_refresh_token=true",
	} {
		c, s := client(t, "azure", canned{status: 200, body: golden(t, "azure_password.json")}, canned{status: 401})
		a := &Account{Name: "x", Grant: g, Password: secret.New("PHNhbWw+PC8="), ShortLived: true}
		if token := login(t, c, a); token.Grant != g || s.seen[0].body != want {
			t.Errorf("%s: sent %s, got %+v", g, s.seen[0].body, token)
		}
		_, err := c.Login(context.Background(), a)
		fault(t, err, KindRefused)
		_, err = c.Login(context.Background(), &Account{Name: "x", Grant: g})
		fault(t, err, KindAccount)
	}
}

func challenge(t *testing.T, padding Padding, code string) string {
	t.Helper()
	var ciphertext []byte
	var err error
	public := &testRSA().PublicKey
	switch padding {
	case PaddingOAEPSHA1:
		ciphertext, err = rsa.EncryptOAEP(sha1.New(), rand.Reader, public, []byte(code), nil)
	case PaddingOAEPSHA256:
		ciphertext, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte(code), nil)
	default:
		ciphertext, err = rsa.EncryptPKCS1v15(rand.Reader, public, []byte(code)) //nolint:staticcheck // as a server may
	}
	if err != nil {
		t.Fatal(err)
	}
	return `{"access_token":null,"encrypted_code":"` + base64.StdEncoding.EncodeToString(ciphertext) + `","expires_in":0}`
}

func keyAccount(t *testing.T, padding Padding) *Account {
	t.Helper()
	key, err := ReadKey([]byte(privateXML(testRSA())), KeyOptions{Padding: padding})
	if err != nil {
		t.Fatal(err)
	}
	return &Account{Name: "x", Grant: GrantPublicKey, Key: key, ReadOnly: true}
}

func TestPublicKey(t *testing.T) {
	binary := "\x00\x01code\xff"
	for _, sent := range []Padding{PaddingPKCS1v15, PaddingOAEPSHA1, PaddingOAEPSHA256} {
		for _, known := range []Padding{"", PaddingAuto, sent} {
			for code, want := range map[string]string{
				"one+time/code=": "one+time/code=",
				"Schlüssel":      "Schlüssel",
				binary:           base64.StdEncoding.EncodeToString([]byte(binary)),
				"line\n":         "bGluZQo=",
			} {
				c, s := client(t, "vspc", canned{status: 200, body: challenge(t, sent, code)},
					canned{status: 200, body: golden(t, "vspc_password.json")})
				a := keyAccount(t, known)
				if token := login(t, c, a); token.Grant != GrantPublicKey {
					t.Errorf("the token is one of %s", token.Grant)
				}
				first := "grant_type=public_key&public_key=" + url.QueryEscape(a.Key.public) + "&readOnly=true"
				second := "grant_type=authorization_code&code=" + url.QueryEscape(want) + "&readOnly=true"
				if s.seen[0].body != first || s.seen[1].body != second {
					t.Errorf("%s known as %s: sent %s", sent, known, s.seen[1].body)
				}
			}
		}
	}
}

func TestPublicKeyWithoutAChallenge(t *testing.T) {
	c, _ := client(t, "vspc", canned{status: 200, body: `{"access_token":"a"}`})
	if token := login(t, c, keyAccount(t, "")); token.Grant != GrantPublicKey {
		t.Errorf("got %+v", token)
	}
}

func TestPublicKeyFaults(t *testing.T) {
	code := "code-canary"
	for name, tt := range map[string]struct {
		padding Padding
		answers []canned
		want    Kind
		grant   Grant
	}{
		"unknown key":      {"", []canned{{status: 400, body: `{"error":"invalid_grant"}`}}, KindRefused, GrantPublicKey},
		"other padding":    {PaddingOAEPSHA1, []canned{{status: 200, body: challenge(t, PaddingOAEPSHA256, code)}}, KindMalformed, GrantPublicKey},
		"not Base64":       {"", []canned{{status: 200, body: `{"encrypted_code":"%"}`}}, KindMalformed, GrantPublicKey},
		"not a ciphertext": {"", []canned{{status: 200, body: `{"encrypted_code":"QUJD"}`}}, KindMalformed, GrantPublicKey},
		"empty code":       {PaddingPKCS1v15, []canned{{status: 200, body: challenge(t, PaddingPKCS1v15, "")}}, KindMalformed, GrantPublicKey},
		"code refused": {"", []canned{
			{status: 200, body: challenge(t, PaddingPKCS1v15, code)},
			{status: 400, body: `{"error":"code-canary"}`},
		}, KindRefused, GrantAuthorizationCode},
		"MFA": {"", []canned{{status: 200, body: `{"mfa_token":"m"}`}}, KindMFARequired, GrantMFA},
	} {
		c, _ := client(t, "vspc", tt.answers...)
		_, err := c.Login(context.Background(), keyAccount(t, tt.padding))
		e := fault(t, err, tt.want)
		if e.Grant != tt.grant || strings.Contains(e.Error(), code) {
			t.Errorf("%s: got %v", name, e)
		}
	}
	c, _ := client(t, "vspc")
	_, err := c.Login(context.Background(), &Account{Name: "x", Grant: GrantPublicKey})
	fault(t, err, KindAccount)
}
