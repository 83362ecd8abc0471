// Tests of the table itself.

package veeam

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestProducts(t *testing.T) {
	if want := []string{"vbr", "vspc", "vspc35", "azure", "aws", "gcp", "vb365", "one", "em"}; !reflect.DeepEqual(Names(), want) {
		t.Errorf("got %v, want %v", Names(), want)
	}
	if _, ok := Lookup("VBR "); ok {
		t.Error("a name is taken as it is")
	}
	refused := map[string]int{"vbr": 401, "vspc": 400, "vspc35": 401, "azure": 401, "aws": 401, "gcp": 401, "vb365": 401, "one": 400, "em": 401}
	for _, p := range products {
		if p.Title == "" || p.Port == 0 || p.appendError == nil || len(p.answer) == 0 && !p.Idling() || p.MFAHint == "" || p.logoutStatus == 0 && p.dialects == nil {
			t.Errorf("%s: the row is incomplete", p.Name)
		}
		if p.LoginRefused != refused[p.Name] {
			t.Errorf("%s: a refused login is %d", p.Name, p.LoginRefused)
		}
		if p.Classify("POST", p.TokenPath) != RouteToken {
			t.Errorf("%s: the token path is not a token route", p.Name)
		}
		if op := (&Client{Product: p}).logout(); op != nil && p.Classify(op.Method, op.Path) != RouteLogout {
			t.Errorf("%s: the logout is not a logout route", p.Name)
		}
		for _, path := range p.CodePaths {
			if p.Classify("POST", path) != RouteAuthorizationCode {
				t.Errorf("%s: %s is not a code route", p.Name, path)
			}
		}
		for _, g := range p.Accounts {
			if p.Values[g] == "" && g != GrantAPIKey {
				t.Errorf("%s: accounts may use %s, which has no value", p.Name, g)
			}
		}
		for g, value := range p.Values {
			if readGrant(value) != g {
				t.Errorf("%s: %s is sent as %q, which reads as %q", p.Name, g, value, readGrant(value))
			}
		}
		if p.Values[GrantMFA] != "" && (p.Fields.MFAToken == "" || p.Fields.MFACode == "") {
			t.Errorf("%s: the mfa grant has no fields", p.Name)
		}
		for _, r := range p.routes {
			if !strings.HasPrefix(r.pattern, "/") || r.method != strings.ToUpper(r.method) || cleanPath(r.pattern) != r.pattern {
				t.Errorf("%s: route %+v can match nothing", p.Name, r)
			}
		}
	}
}

func TestSetVersion(t *testing.T) {
	for _, tt := range []struct{ product, client, configured, want string }{
		{"vbr", "", "", "1.1-rev0"},
		{"vbr", " ", "", "1.1-rev0"},
		{"vbr", "", "1.3-rev1", "1.3-rev1"},
		{"vbr", "1.2-rev0", "1.3-rev1", "1.2-rev0"},
		{"aws", "", "", "1.4-rev0"},
		{"azure", "", "8", ""},
		{"vspc", "", "", ""},
		{"vspc", "", "3.6.1", "3.6.1"},
	} {
		p := lookup(t, tt.product)
		h := http.Header{}
		name := p.Version.Header
		if name == "" {
			name = "x-api-version"
		}
		if tt.client != "" {
			h.Set(name, tt.client)
		}
		p.SetVersion(h, tt.configured)
		if got := h.Get(name); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestGrantsAreReadInAnySpelling(t *testing.T) {
	for value, want := range map[string]Grant{
		"password": GrantPassword, "Password": GrantPassword, " PASSWORD\n": GrantPassword,
		"Refresh_token": GrantRefreshToken, "refreshToken": GrantRefreshToken, "RefreshToken": GrantRefreshToken,
		"Mfa": GrantMFA, "Authorization_code": GrantAuthorizationCode, "Authentication_code": GrantAuthorizationCode,
		"SsoToken": GrantSSOToken, "Updater_token": GrantUpdaterToken, "Saml": GrantSAML,
		"public_key": GrantPublicKey, "as": GrantAs,
		"urn:ietf:params:oauth:grant-type:jwt-bearer": GrantJWTBearer, "operator": GrantOperator,
		"": "", "client_credentials": "client_credentials", "Vbr_token": "vbr_token", "<b>\r\n": "b",
		"pass!word": "invalid",
	} {
		if got := readGrant(value); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	for k := KindRefused; k <= KindWrongUser; k++ {
		if k.String() == "" || k.String() == "unknown fault" {
			t.Errorf("kind %d has no name", int(k))
		}
	}
	for _, k := range []Kind{0, -1, KindWrongUser + 1} {
		if k.String() != "unknown fault" {
			t.Errorf("%d: got %q", int(k), k)
		}
	}
}
