// Tests of reading the token requests of clients.

package veeam

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

const formType = "application/x-www-form-urlencoded"

// flat is a TokenRequest that can be compared and printed.
type flat struct {
	Grant                                                Grant
	Username, Password, Refresh, Code, MFAToken, MFACode string
	Credential, PublicKey, UserUID                       string
	ReadOnly, ShortLived                                 bool
}

func flatten(t *TokenRequest) flat {
	return flat{
		t.Grant, t.Username, t.Password.Reveal(), t.RefreshToken.Reveal(), t.Code.Reveal(),
		t.MFAToken.Reveal(), t.MFACode.Reveal(), t.Credential.Reveal(), t.PublicKey, t.UserUID, t.ReadOnly, t.ShortLived,
	}
}

func read(t *testing.T, contentType, body string) (*TokenRequest, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/oauth2/token", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return lookup(t, "vbr").ReadTokenRequest(r)
}

func TestTokenRequestsAsClientsSendThem(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, body string
		want                    flat
	}{
		{
			"documented, VBR", formType, "grant_type=password&username=benyoung&password=s3cret",
			flat{Grant: GrantPassword, Username: "benyoung", Password: "s3cret"},
		},
		{
			"documented, VSPC, with empty pairs", formType,
			"grant_type=password&username=restv3vacadministrator&password=secretPassword&&&&&&&",
			flat{Grant: GrantPassword, Username: "restv3vacadministrator", Password: "secretPassword"},
		},
		{
			"documented, Azure", formType, "Username=administrator&Password=Password1&grant_type=Password",
			flat{Grant: GrantPassword, Username: "administrator", Password: "Password1"},
		},
		{
			"documented, Azure, MFA", formType,
			"grant_type=Mfa&mfa_token=NkZFMzc4RjA4NzJCQzk1Qg==&mfa_code=346816",
			flat{Grant: GrantMFA, MFAToken: "NkZFMzc4RjA4NzJCQzk1Qg==", MFACode: "346816"},
		},
		{
			"documented, AWS, code without escapes", formType,
			"grant_type=authorization_code&code=AAEAAJO1R+DANfH7JDly/UzDVYGDw+77dya=",
			flat{Grant: GrantAuthorizationCode, Code: "AAEAAJO1R+DANfH7JDly/UzDVYGDw+77dya="},
		},
		{
			"code with escapes", formType, "code=a%2Bb%2Fc%3D&grant_type=authorization_code",
			flat{Grant: GrantAuthorizationCode, Code: "a+b/c="},
		},
		{
			"blank fields", formType, "grant_type=refresh_token&username=&password=&refresh_token=r&code=&vbr_token=&readOnly=",
			flat{Grant: GrantRefreshToken, Refresh: "r"},
		},
		{
			"a password that no one escaped", formType, "grant_type=password&username=u&password=50%;x=%zz%4",
			flat{Grant: GrantPassword, Username: "u", Password: "50%;x=%zz%4"},
		},
		{
			"a password that was escaped", formType, "grant_type=password&username=LAB%5Cu&password=p%2Bw%2F%3D%26+%25%C3%A4%3B",
			flat{Grant: GrantPassword, Username: `LAB\u`, Password: "p+w/=& %ä;"},
		},
		{
			"a password with blanks at its ends", formType, "password=%20x+&grant_type=password",
			flat{Grant: GrantPassword, Password: " x "},
		},
		{
			"line end of a file", formType, "grant_type=password&username=u&password=p\r\n",
			flat{Grant: GrantPassword, Username: "u", Password: "p"},
		},
		{
			"VSPC options", formType, "grant_type=as&refresh_token=r&userUid=0b1f&readOnly=True&public_key=QUJD",
			flat{Grant: GrantAs, Refresh: "r", UserUID: "0b1f", ReadOnly: true, PublicKey: "QUJD"},
		},
		{
			"short-lived, VBR", formType, "grant_type=Refresh_token&refresh_token=r&use_short_term_refresh=true",
			flat{Grant: GrantRefreshToken, Refresh: "r", ShortLived: true},
		},
		{
			"short-lived, Azure", formType, "grant_type=Updater_token&updater_token=u&short_lived_refresh_token=1",
			flat{Grant: GrantUpdaterToken, Credential: "u", ShortLived: true},
		},
		{
			"a flag that is none", formType, "grant_type=saml&saml_response=PHNhbWw+&readOnly=perhaps",
			flat{Grant: GrantSAML, Credential: "PHNhbWw+"},
		},
		{
			"the first of several counts", formType, "password=&password=a&password=b&grant_type=mfa&grant_type=password",
			flat{Grant: GrantMFA, Password: "a"},
		},
		{"no content type", "", "grant_type=password&username=u", flat{Grant: GrantPassword, Username: "u"}},
		{"a strange content type", "text/plain; charset=;;", "grant_type=password", flat{Grant: GrantPassword}},
		{"nothing", formType, "", flat{}},
		{"nothing, as JSON", "application/json", "", flat{}},
		{"separators only", formType, "&&&&=&=x", flat{}},
		{
			"JSON", "application/json; charset=utf-8", `{"grantType":"password","userName":"u","password":"p+%41","readOnly":true}`,
			flat{Grant: GrantPassword, Username: "u", Password: "p+%41", ReadOnly: true},
		},
		{
			"JSON under the type of a form", formType, "\xef\xbb\xbf {\"grant_type\":\"refresh_token\",\"refresh_token\":\"r\",\"code\":null}\n",
			flat{Grant: GrantRefreshToken, Refresh: "r"},
		},
		{
			"JSON with a number and an object", "application/json", `{"grant_type":"mfa","mfa_code":123456,"x":{"y":1}}`,
			flat{Grant: GrantMFA, MFACode: "123456"},
		},
		{"a form that begins like JSON", formType, "{x&grant_type=password", flat{Grant: GrantPassword}},
	} {
		got, err := read(t, tt.contentType, tt.body)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if flatten(got) != tt.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.name, flatten(got), tt.want)
		}
	}
}

func TestMultipartTokenRequest(t *testing.T) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, f := range [][2]string{{"grant_type", "password"}, {"Username", "u"}, {"password", "p+%41\n"}} {
		if err := w.WriteField(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	got, err := read(t, w.FormDataContentType(), body.String())
	if err != nil || flatten(got) != (flat{Grant: GrantPassword, Username: "u", Password: "p+%41\n"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, broken := range []string{"multipart/form-data", "multipart/form-data; boundary=other"} {
		if _, err := read(t, broken, body.String()); !errors.Is(err, ErrRequestUnreadable) {
			t.Errorf("%s: got %v", broken, err)
		}
	}
	if _, err := read(t, w.FormDataContentType(), body.String()[:body.Len()-70]); !errors.Is(err, ErrRequestUnreadable) {
		t.Errorf("cut off: got %v", err)
	}
}

func TestTokenRequestThatCannotBeRead(t *testing.T) {
	for _, body := range []string{"grant_type=password", "[]", `{"grant_type":`, "null"} {
		if _, err := read(t, "application/json", body); !errors.Is(err, ErrRequestUnreadable) {
			t.Errorf("%s: got %v", body, err)
		}
	}
	if _, err := read(t, formType, strings.Repeat("x", MaxTokenRequest+1)); !errors.Is(err, ErrRequestTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := read(t, formType, strings.Repeat("x", MaxTokenRequest)); err != nil {
		t.Errorf("got %v", err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := lookup(t, "vbr").ReadTokenRequest(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	r.Body = nil
	if got, err := lookup(t, "vbr").ReadTokenRequest(r); err != nil || len(got.Fields) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFieldsKeepTheirOrderAndTheBodyIsPutBack(t *testing.T) {
	const body = "grant_type=password&Username=u&&password=p%41&x"
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	got, err := lookup(t, "vbr").ReadTokenRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range got.Fields {
		fields = append(fields, f.Name+"="+f.Value.Reveal())
	}
	if want := []string{"grant_type=password", "Username=u", "password=pA", "x="}; !reflect.DeepEqual(fields, want) {
		t.Errorf("got %q, want %q", fields, want)
	}
	if again, _ := io.ReadAll(r.Body); string(again) != body {
		t.Errorf("the body is now %q", again)
	}
	if text := fmt.Sprintf("%v %+v", got, got.Fields); strings.Contains(text, "pA") {
		t.Errorf("the password is printed: %s", text)
	}
}

// A password of any bytes arrives unchanged from clients that escape it, and from the
// forms of Client.
func TestEscapedPasswordsSurvive(t *testing.T) {
	for _, password := range []string{testPassword, "%41", "a%", "\x00\xff", "=&+;%", "日本", "\"'\\`$!"} {
		f := lookup(t, "azure").newForm(GrantPassword)
		f.add("username", "u")
		f.add("password", password)
		for _, body := range []string{f.body.String(), url.Values{"password": {password}}.Encode()} {
			got, err := read(t, formType, body)
			if err != nil || !got.Password.Equal(secret.New(password)) {
				t.Errorf("%q became %q, %v", password, got.Password.Reveal(), err)
			}
		}
	}
}

func TestAFormWithoutAGrantIsALoginIfTheProductSaysSoAndAUserIsNamed(t *testing.T) {
	for body, want := range map[string]map[string]Grant{
		"username=u&password=p":               {"one": GrantPassword, "vbr": "", "vb365": ""},
		"grant_type=&username=u&password=p":   {"one": GrantPassword, "vbr": ""},
		"grant_type=refresh_token&username=u": {"one": GrantRefreshToken, "vbr": GrantRefreshToken},
		"":                                    {"one": "", "vbr": ""},
		"password=p":                          {"one": ""},
		"username=+&x=y":                      {"one": ""},
	} {
		for product, grant := range want {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Content-Type", formType)
			if got, err := lookup(t, product).ReadTokenRequest(r); err != nil || got.Grant != grant {
				t.Errorf("%s, %q: grant %q, want %q; %v", product, body, got.Grant, grant, err)
			}
		}
	}
}

func FuzzTokenRequest(f *testing.F) {
	for _, body := range []string{
		"grant_type=password&username=u&password=50%;x&&&", `{"grant_type":"mfa","mfa_code":1}`, "code=a+b%2",
		"--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\np\r\n--b--\r\n", "\xef\xbb\xbf{}",
	} {
		for _, contentType := range []string{formType, "application/json", "multipart/form-data; boundary=b", ""} {
			f.Add(contentType, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		got, err := lookup(t, "vspc").ReadTokenRequest(r)
		if err != nil {
			if !errors.Is(err, ErrRequestUnreadable) && !errors.Is(err, ErrRequestTooLarge) {
				t.Fatal(err)
			}
			return
		}
		if again, _ := io.ReadAll(r.Body); !bytes.Equal(again, body) {
			t.Fatal("the body was not put back")
		}
		if got.Grant != readGrant(string(got.Grant)) {
			t.Fatalf("grant %q is not in its final form", got.Grant)
		}
		// What was understood of a form is understood again when it is escaped.
		again := url.Values{}
		for _, field := range got.Fields {
			if !again.Has(field.Name) || strings.TrimSpace(again.Get(field.Name)) == "" {
				again.Set(field.Name, field.Value.Reveal())
			}
		}
		second := &TokenRequest{}
		for name, values := range again {
			second.set(fold(name), secret.New(values[0]))
		}
		if len(again) == len(got.Fields) && unique(got.Fields) && flatten(second) != flatten(got) {
			t.Fatalf("%+v became %+v", flatten(got), flatten(second))
		}
	})
}

// unique reports whether no two fields mean the same.
func unique(fields []Field) bool {
	meanings := map[string]string{
		"authorizationcode": "code", "samlresponse": "credential", "ssotoken": "credential", "updatertoken": "credential",
	}
	seen := map[string]bool{}
	for _, f := range fields {
		name := fold(f.Name)
		if m, ok := meanings[name]; ok {
			name = m
		}
		if seen[name] {
			return false
		}
		seen[name] = true
	}
	return true
}
