// Tests of VSPC's key services.

package veeamtest

import (
	"encoding/base64"
	"encoding/xml"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/pquerna/otp/totp"
	"software.sslmate.com/src/go-pkcs12"
)

func TestEnrollingTOTPAtVSPC(t *testing.T) {
	s := New(VSPC, fixed())
	access, _ := defaultLogin(t, s)
	made := do(s, "GET", "/api/v3/authentication/keys/totp-secret", access, "")
	data := made.json(t)["data"].(map[string]any)
	secret, secretURL := data["secret"].(string), data["secretUrl"].(string)
	if secretURL != "otpauth://totp/svc-monitor?secret="+secret+"&issuer=My%20Company%20Portal" {
		t.Error(secretURL)
	}
	code, _ := totp.GenerateCode(secret, epoch)
	path := "/api/v3/users/" + defaultUID(s) + "/logins/totp?description=d&scopes=rest&secretUrl=" + url.QueryEscape(secretURL) + "&code="
	if got := do(s, "POST", path+"000000", access, ""); got.status != 400 {
		t.Errorf("a wrong code: %d", got.status)
	}
	if got := do(s, "POST", path+code, access, ""); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword); got.text(t, "mfa_token") == "" {
		t.Error(got.body)
	}
}

func TestKeyServices(t *testing.T) {
	s := New(VSPC)
	access, _ := defaultLogin(t, s)
	pair := func(got answer) (private, public string) {
		t.Helper()
		data, _ := got.json(t)["data"].(map[string]any)
		if got.status != 200 || keys(data) != "privateKey publicKey" {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return data["privateKey"].(string), data["publicKey"].(string)
	}
	private, public := pair(do(s, "GET", "/api/v3/authentication/keys/rsa?keySize=1024", access, ""))
	var key xmlKey
	if err := xml.Unmarshal([]byte(private), &key); err != nil {
		t.Fatal(err)
	}
	parsed, form, err := parsePublicKey([]byte(public))
	if err != nil || form != KeyXML || parsed.Size() != 128 {
		t.Errorf("%v %v %v", parsed, form, err)
	}
	n := func(s string) *big.Int {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	if new(big.Int).Mul(n(key.P), n(key.Q)).Cmp(parsed.N) != 0 || n(key.Modulus).Cmp(parsed.N) != 0 || n(key.D).Sign() == 0 {
		t.Error("the private key does not fit the public one")
	}
	for _, size := range []string{"x", "512", "1025", "8192"} {
		if got := do(s, "GET", "/api/v3/authentication/keys/rsa?keySize="+size, access, ""); got.status != 400 {
			t.Errorf("%s bits: %d", size, got.status)
		}
	}

	container, trust := pair(do(s, "GET", "/api/v3/authentication/keys/rsa-pkcs12?subject=me&keySize=1024&password=p", access, ""))
	raw, _ := base64.StdEncoding.DecodeString(container)
	if _, cert, err := pkcs12.Decode(raw, "p"); err != nil || cert.Subject.CommonName != "me" {
		t.Errorf("%v %v", cert, err)
	}
	decrypt := func(container, password string) answer {
		return do(s, "POST", "/api/v3/authentication/keys/rsa-pkcs12/decrypt", access, `{"certificateContent":"`+container+`","password":"`+password+`"}`)
	}
	open, _ := pair(decrypt(container, "p"))
	raw, _ = base64.StdEncoding.DecodeString(open)
	if _, _, err := pkcs12.Decode(raw, ""); err != nil {
		t.Error(err)
	}
	if got := decrypt(trust, "p"); got.status != 400 || !strings.Contains(got.body, `"code":1210`) {
		t.Errorf("no private key: %d %s", got.status, got.body)
	}
	for _, c := range [][2]string{{container, "wrong"}, {"AAAA", ""}, {"!", ""}} {
		if got := decrypt(c[0], c[1]); got.status != 400 || strings.Contains(got.body, "1210") {
			t.Errorf("%.10s: %d %s", c[0], got.status, got.body)
		}
	}
	if got := do(s, "GET", "/api/v3/authentication/keys/rsa-pkcs12", access, ""); got.status != 400 {
		t.Errorf("no subject: %d", got.status)
	}
}
