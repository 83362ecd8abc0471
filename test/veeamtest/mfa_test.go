// Tests of enrolment, scratch codes and authorization codes.

package veeamtest

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

func TestEnrolment(t *testing.T) {
	for p, c := range map[Profile]struct {
		base            string
		accept, disable int
		keys            string
		qr              string
	}{
		Azure: {"/api/v8/users/", 204, 204, "qrString scratchCodes secretKey token userId", `^otpauth://totp/svc-monitor&40ip-172-31-71-115\?secret=[A-Z2-7]{26}&issuer=ip-172-31-71-115$`},
		AWS:   {"/api/v1/users/", 201, 200, "qrString scratchCodes secretKey token userName", `^otpauth://totp/svc-monitor%40ip-172-31-71-115\?secret=[A-Z2-7]{26}&issuer=ip-172-31-71-115$`},
	} {
		s := New(p, fixed())
		access, _ := defaultLogin(t, s)
		user := c.base + DefaultUser
		offered := do(s, "POST", user+"/enableMfa", access, `{"recreate":"false"}`)
		e := offered.json(t)
		if offered.status != 200 || keys(e) != c.keys || !regexp.MustCompile(c.qr).MatchString(e["qrString"].(string)) || len(e["scratchCodes"].([]any)) != 5 {
			t.Fatalf("%s: %d %s", p, offered.status, offered.body)
		}
		defaultLogin(t, s) // still without MFA

		secret, value := e["secretKey"].(string), e["token"].(string)
		if got := do(s, "POST", user+"/acceptMfa", access, `{"code":"000000","token":"`+value+`"}`); got.status != 400 {
			t.Errorf("%s: a wrong code: %d", p, got.status)
		}
		code, _ := totp.GenerateCode(secret, epoch)
		if got := do(s, "POST", user+"/acceptMfa", access, `{"code":"`+code+`","token":"`+value+`"}`); got.status != c.accept {
			t.Fatalf("%s: accept: %d %s", p, got.status, got.body)
		}
		if s.TOTPSecret(DefaultUser) != secret {
			t.Errorf("%s: the secret was not taken over", p)
		}
		mfaToken := grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword).text(t, "mfa_token")
		if grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+code).status == 200 {
			t.Errorf("%s: the code of the enrolment worked again", p)
		}
		s.Advance(time.Minute)
		next, _ := totp.GenerateCode(secret, epoch.Add(time.Minute))
		if got := grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+next); got.status != 200 {
			t.Errorf("%s: %d %s", p, got.status, got.body)
		}
		if got := do(s, "POST", user+"/enableMfa", access, `{"recreate":false}`); got.status != 409 {
			t.Errorf("%s: enabling twice: %d", p, got.status)
		}
		if got := do(s, "POST", user+"/enableMfa", access, `{"recreate":true}`); got.status != 200 {
			t.Errorf("%s: recreate: %d", p, got.status)
		}
		if got := do(s, "POST", user+"/disableMfa", access, ""); got.status != c.disable {
			t.Errorf("%s: disable: %d", p, got.status)
		}
		defaultLogin(t, s)
		if got := do(s, "POST", c.base+"nobody/enableMfa", access, `{}`); got.status != 404 {
			t.Errorf("%s: nobody: %d", p, got.status)
		}
		for _, secret := range append([]string{secret, value}, e["scratchCodes"].([]any)[0].(string)) {
			if !slices.Contains(s.Issued(), secret) {
				t.Errorf("%s: %s is not listed as issued", p, secret)
			}
		}
	}
}

func TestScratchCodesWorkOnce(t *testing.T) {
	for _, p := range []Profile{Azure, AWS} {
		s := New(p, fixed())
		codes := s.ScratchCodes(DefaultMFAUser)
		if len(codes) != 5 || len(codes[0]) != 8 {
			t.Fatalf("%s: %v", p, codes)
		}
		if got := grant(s, "grant_type=mfa", "mfa_token="+challenged(t, s), "mfa_code="+codes[0]); got.status != 200 {
			t.Errorf("%s: %d %s", p, got.status, got.body)
		}
		if grant(s, "grant_type=mfa", "mfa_token="+challenged(t, s), "mfa_code="+codes[0]).status == 200 {
			t.Errorf("%s: a scratch code worked twice", p)
		}
		if n := s.Counters().ScratchCodes; n != 1 || len(s.ScratchCodes(DefaultMFAUser)) != 4 {
			t.Errorf("%s: %d spent", p, n)
		}
	}
	if New(VSPC).ScratchCodes(DefaultMFAUser) != nil {
		t.Error("VSPC has no scratch codes")
	}
}

func TestAuthorizationCodes(t *testing.T) {
	for p, path := range map[Profile]string{VBR12: "/api/oauth2/authorization_code", AWS: "/api/v1/token/authorization_code"} {
		s := New(p, fixed())
		access, _ := defaultLogin(t, s)
		create := func() string {
			t.Helper()
			got := do(s, "POST", path, access, "")
			if got.status != 200 || keys(got.json(t)) != "code" {
				t.Fatalf("%s: %d %s", p, got.status, got.body)
			}
			return got.text(t, "code")
		}
		if got := do(s, "POST", path, "", ""); got.status != 401 {
			t.Errorf("%s: without a token: %d", p, got.status)
		}
		code := create()
		unescaped := "grant_type=authorization_code&code=" + code
		if got := do(s, "POST", s.TokenPath(), "", unescaped, "Content-Type", formType); got.status == 200 {
			t.Errorf("%s: a bare + was taken for one", p)
		}
		got := grant(s, "grant_type=Authorization_Code", "code="+code)
		if got.status != 200 || got.text(t, "username") != "" || status(s, got.text(t, "access_token")) != 200 {
			t.Errorf("%s: %d %s", p, got.status, got.body)
		}
		if grant(s, "grant_type=authorization_code", "code="+code).status == 200 {
			t.Errorf("%s: a code worked twice", p)
		}
		code = create()
		s.Advance(time.Minute)
		if grant(s, "grant_type=authorization_code", "code="+code).status == 200 {
			t.Errorf("%s: a code outlived its minute", p)
		}
	}
	s := New(AWS, WithBarePlus(), WithCodePaths("authorizationCode"))
	access, _ := defaultLogin(t, s)
	if got := do(s, "POST", "/api/v1/token/authorization_code", access, ""); got.status != 404 {
		t.Errorf("the other spelling: %d", got.status)
	}
	code := do(s, "POST", "/api/v1/token/authorizationCode", access, "").text(t, "code")
	if got := do(s, "POST", s.TokenPath(), "", "grant_type=authorization_code&code="+code, "Content-Type", formType); got.status != 200 {
		t.Errorf("bare + at a tolerant server: %d %s", got.status, got.body)
	}
	s = New(VBR13)
	access, _ = defaultLogin(t, s)
	if got := do(s, "POST", "/api/oauth2/authorization_code", access, ""); got.status != 404 {
		t.Errorf("VBR 13: %d", got.status)
	}
	if got := grant(s, "grant_type=authorization_code", "code=x"); got.status != 400 {
		t.Errorf("VBR 13: %d", got.status)
	}
}

func TestAzureTakesCannedValues(t *testing.T) {
	for _, c := range []struct{ pairs, userType string }{
		{"grant_type=Saml&saml_response=" + url.QueryEscape(AzureSAMLResponse), "IdentityProvider"},
		{"grant_type=SsoToken&sso_token=" + url.QueryEscape(AzureSSOToken), "IdentityProvider"},
		{"grant_type=Updater_token&updater_token=" + url.QueryEscape(AzureUpdaterToken), "Internal"},
		{"grant_type=Authentication_code&authorization_code=" + url.QueryEscape(AzureAuthorizationCode), "Internal"},
		{"grant_type=Authorization_code&authorization_code=" + url.QueryEscape(AzureAuthorizationCode), "Internal"},
	} {
		s := New(Azure)
		got := do(s, "POST", s.TokenPath(), "", c.pairs, "Content-Type", formType)
		if got.status != 200 || got.json(t)["userType"] != c.userType || status(s, got.text(t, "access_token")) != 200 {
			t.Errorf("%s: %d %s", c.pairs, got.status, got.body)
		}
		if got := do(s, "POST", s.TokenPath(), "", c.pairs[:len(c.pairs)-8]+"x", "Content-Type", formType); got.status != 401 {
			t.Errorf("another value: %d %s", got.status, got.body)
		}
	}
}

func TestAzureSendsSSOUsersToTheirProvider(t *testing.T) {
	s := New(Azure, WithAccount(Account{Username: "sso", Password: "x", RedirectTo: "https://idp.invalid/login?SAMLRequest=a&b"}))
	got := grant(s, "grant_type=Password", "Username=sso", "Password=x")
	if got.status != 200 || got.text(t, "access_token")+got.text(t, "mfa_token") != "" || !strings.Contains(got.body, `"redirectTo":"https://idp.invalid/login?SAMLRequest=a&b"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := grant(s, "grant_type=Saml", "saml_response="+AzureSAMLResponse); got.text(t, "username") != "sso" {
		t.Error(got.body)
	}
}

func TestVBRSaysWhichVersionsItServes(t *testing.T) {
	for p, want := range map[Profile]map[string]int{
		VBR12: {"v1.2-rev1": 200, "v1.1-rev0": 200, "v1.3-rev0": 404, "1.2-rev1": 404},
		VBR13: {"v1.3-rev2": 200, "v1.0-rev1": 404, "vx": 404},
	} {
		s := New(p)
		for version, status := range want {
			if got := do(s, "GET", "/swagger/"+version+"/swagger.json", "", "", "x-api-version", ""); got.status != status {
				t.Errorf("%s %s: %d", p, version, got.status)
			}
		}
	}
	if got := do(New(VBR13, WithAPIVersions("1.3-rev0")), "GET", "/swagger/v1.3-rev1/swagger.json", "", ""); got.status != 404 {
		t.Errorf("13.0: %d", got.status)
	}
}

func TestVBRTellsServiceAccountsApart(t *testing.T) {
	s := New(VBR13)
	access, _ := defaultLogin(t, s)
	if got := do(s, "GET", "/api/v1/security/users", access, ""); strings.Count(got.body, `"isServiceAccount":true`) != 1 || strings.Count(got.body, `"isServiceAccount":false`) != 1 {
		t.Error(got.body)
	}
	if got := do(s, "POST", "/api/v1/security/users/"+DefaultMFAUser+"/changeServiceAccountMode", access, `{"isServiceAccount":true}`); got.status != 204 {
		t.Errorf("%d %s", got.status, got.body)
	}
	login(t, s, DefaultMFAUser, DefaultMFAPassword)
}
