// Tests of what only VSPC has: keys as logins, impersonation, asynchronous actions, the old login routes.

package veeamtest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"mime/multipart"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clientKey is the key whose public half is assigned to users.
var clientKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func publicForms(t *testing.T) map[string][]byte {
	t.Helper()
	public := &clientKey().PublicKey
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"xml":   []byte(PublicKeyXML(public)),
		"spki":  spki,
		"pkcs1": x509.MarshalPKCS1PublicKey(public),
		"pem":   pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}),
	}
}

func decrypt(t *testing.T, p Padding, encrypted string) []byte {
	t.Helper()
	sealed, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil {
		t.Fatal(err)
	}
	var plain []byte
	switch p {
	case OAEPSHA1:
		plain, err = rsa.DecryptOAEP(sha1.New(), nil, clientKey(), sealed, nil)
	case OAEPSHA256:
		plain, err = rsa.DecryptOAEP(sha256.New(), nil, clientKey(), sealed, nil)
	default:
		plain, err = rsa.DecryptPKCS1v15(nil, clientKey(), sealed) //nolint:staticcheck // the server's choice
	}
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestPublicKeyGrant(t *testing.T) {
	forms := publicForms(t)
	for _, padding := range []Padding{PKCS1v15, OAEPSHA1, OAEPSHA256} {
		for _, assigned := range []string{"xml", "spki", "pem"} {
			s := New(VSPC, fixed(), WithPadding(padding), WithPublicKey(DefaultMFAUser, forms[assigned], false))
			for name, form := range forms {
				got := grant(s, "grant_type=public_key", "public_key="+b64(form))
				m := got.json(t)
				if got.status != 200 || keys(m) != "access_token encrypted_code expires_in mfa_token refresh_token token_type" || m["access_token"] != nil || m["mfa_token"] != nil {
					t.Fatalf("%s presented as %s: %d %s", assigned, name, got.status, got.body)
				}
				code := string(decrypt(t, padding, m["encrypted_code"].(string)))
				got = grant(s, "grant_type=authorization_code", "code="+code)
				if got.status != 200 || status(s, got.text(t, "access_token")) != 200 {
					t.Fatalf("%s as %s: %d %s", assigned, name, got.status, got.body)
				}
				if grant(s, "grant_type=authorization_code", "code="+code).status == 200 {
					t.Error("a code worked twice")
				}
				if !slices.Contains(s.Issued(), code) {
					t.Error("the code is not listed as issued")
				}
			}
			if c := s.Counters(); c.Logins != 4 || c.OtherGrants != 12 || c.Refused != 4 {
				t.Errorf("%+v", c)
			}
		}
	}
}

func TestPublicKeyGrantIsStrict(t *testing.T) {
	forms := publicForms(t)
	for _, c := range []struct {
		form     KeyForm
		accepted string
	}{{KeyExact, "xml"}, {KeyXML, "xml"}, {KeySPKI, "pem spki"}, {KeyAny, "pem pkcs1 spki xml"}} {
		s := New(VSPC, WithKeyForm(c.form), WithPublicKey(DefaultUser, forms["xml"], false))
		for name, form := range forms {
			got := grant(s, "grant_type=public_key", "public_key="+b64(form))
			if ok := got.status == 200; ok != slices.Contains(strings.Fields(c.accepted), name) {
				t.Errorf("%q %s: %d", c.form, name, got.status)
			}
		}
	}
	s := New(VSPC, fixed(), WithPublicKey(DefaultUser, forms["spki"], true))
	for _, value := range []string{b64([]byte("junk")), "no base64!", b64(forms["pkcs1"][1:])} {
		if got := grant(s, "grant_type=public_key", "public_key="+value); got.status != 400 {
			t.Errorf("%q: %d", value, got.status)
		}
	}
	challenge := func() string {
		encrypted := grant(s, "grant_type=public_key", "public_key="+b64(forms["spki"])).text(t, "encrypted_code")
		return string(decrypt(t, PKCS1v15, encrypted))
	}
	code := challenge()
	s.Advance(30 * time.Second)
	if got := grant(s, "grant_type=authorization_code", "code="+code); got.status != 400 || !strings.Contains(got.body, "invalid_grant") {
		t.Errorf("after 30 s: %d %s", got.status, got.body)
	}
	access := grant(s, "grant_type=authorization_code", "code="+challenge()).text(t, "access_token")
	if got := do(s, "POST", "/api/v3/execute?op=x", access, ""); got.status != 403 {
		t.Errorf("a read-only key wrote: %d", got.status)
	}
	s = New(VSPC, WithBinaryChallenge(), WithPublicKey(DefaultUser, forms["spki"], false))
	if got := grant(s, "grant_type=authorization_code", "code="+b64([]byte(challenge()))); got.status != 200 {
		t.Errorf("binary challenge: %d %s", got.status, got.body)
	}
}

func TestImpersonation(t *testing.T) {
	users := []Option{
		WithAccount(Account{Username: `Alpha\user`, Password: "x", UID: "5f0d0c9c-0000-4000-8000-000000000001", Role: "Company Administrator"}),
		WithAccount(Account{Username: "tenant", Password: "x", Role: "Company Tenant"}),
	}
	const uid = "userUid=5F0D0C9C-0000-4000-8000-000000000001"
	s := New(VSPC, users...)
	_, refresh := defaultLogin(t, s)
	got := grant(s, "grant_type=as", "refresh_token="+refresh, uid)
	me := do(s, "GET", "/api/v3/users/me", got.text(t, "access_token"), "")
	if got.status != 200 || !strings.Contains(me.body, `Alpha\\user`) {
		t.Fatalf("%d %s %s", got.status, got.body, me.body)
	}
	if again := grant(s, "grant_type=as", "refresh_token="+refresh, uid); again.status != 400 {
		t.Errorf("the refresh token worked twice: %d", again.status)
	}
	if renewed := grant(s, "grant_type=refresh_token", "refresh_token="+got.text(t, "refresh_token")); renewed.status != 200 {
		t.Errorf("refresh of the new session: %d", renewed.status)
	}
	_, refresh = login(t, s, "tenant", "x")
	if got := grant(s, "grant_type=as", "refresh_token="+refresh, uid); got.status != 400 || !strings.Contains(got.body, "unauthorized_client") {
		t.Errorf("a tenant: %d %s", got.status, got.body)
	}
	_, refresh = defaultLogin(t, s)
	if got := grant(s, "grant_type=as", "refresh_token="+refresh, "userUid=nobody"); got.status != 400 {
		t.Errorf("nobody: %d", got.status)
	}
	if got := grant(s, "grant_type=as", "refresh_token="+refresh); got.status != 400 {
		t.Errorf("no user: %d", got.status)
	}
	if got := grant(s, "grant_type=as", "refresh_token=x", uid); got.status != 400 || !strings.Contains(got.body, "invalid_grant") {
		t.Errorf("bad token: %d %s", got.status, got.body)
	}

	s = New(VSPC, append(users, WithAsKeepsRefresh())...)
	_, refresh = defaultLogin(t, s)
	for range 2 {
		if got := grant(s, "grant_type=as", "refresh_token="+refresh, uid, "readOnly=true"); do(s, "POST", "/api/v3/execute", got.text(t, "access_token"), "").status != 403 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

func TestReadOnlyMayOrMayNotSurviveARefresh(t *testing.T) {
	for drops, want := range map[bool]int{false: 403, true: 201} {
		var opts []Option
		if drops {
			opts = append(opts, WithRefreshDropsReadOnly())
		}
		s := New(VSPC, opts...)
		got := grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword, "readOnly=true")
		write := func() int { return do(s, "POST", "/api/v3/execute", got.text(t, "access_token"), "").status }
		if write() != 403 {
			t.Error("a read-only token wrote")
		}
		got = grant(s, "grant_type=refresh_token", "refresh_token="+got.text(t, "refresh_token"), "readOnly=true")
		if write() != 403 {
			t.Error("asked for again, and not read-only")
		}
		got = grant(s, "grant_type=refresh_token", "refresh_token="+got.text(t, "refresh_token"))
		if got := write(); got != want {
			t.Errorf("drops=%t: %d", drops, got)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	s := New(VSPC, fixed(), WithAPIKey(DefaultUser, "simple-key", false), WithAPIKey(DefaultUser, "reading-key", true))
	s.Advance(1000 * time.Hour)
	s.RevokeAll()
	if status(s, "simple-key") != 200 || do(s, "POST", "/api/v3/execute?op=x", "simple-key", "").status != 201 {
		t.Error("a simple key was refused")
	}
	if status(s, "reading-key") != 200 || do(s, "POST", "/api/v3/execute?op=x", "reading-key", "").status != 403 {
		t.Error("a read-only key")
	}
	if grant(s, "grant_type=refresh_token", "refresh_token=simple-key").status == 200 {
		t.Error("a key was taken at the token endpoint")
	}
	uid := defaultUID(s)
	made := do(s, "POST", "/api/v3/users/"+uid+"/logins/apikey?description=d&scopes=rest&scopes=integration", "simple-key", "")
	login, _ := made.json(t)["data"].(map[string]any)
	key, _ := login["key"].(string)
	if made.status != 200 || status(s, key) != 200 || login["userUid"] != uid || login["isReadAccessOnly"] != false {
		t.Fatalf("%d %s", made.status, made.body)
	}
	if list := do(s, "GET", "/api/v3/users/"+uid+"/logins", key, ""); strings.Contains(list.body, key) || strings.Count(list.body, `"ApiKey"`) != 3 {
		t.Error(list.body)
	}
	if got := do(s, "DELETE", "/api/v3/users/"+uid+"/logins/3", "simple-key", ""); got.status != 200 || status(s, key) != 401 {
		t.Errorf("a deleted key: %d", got.status)
	}
	for _, query := range []string{"", "description=d", "description=d&scopes=nonsense"} {
		if got := do(s, "POST", "/api/v3/users/"+uid+"/logins/apikey?"+query, "simple-key", ""); got.status != 400 {
			t.Errorf("%q: %d", query, got.status)
		}
	}
	if got := do(s, "POST", "/api/v3/users/nobody/logins/apikey?description=d&scopes=rest", "simple-key", ""); got.status != 404 {
		t.Errorf("nobody: %d", got.status)
	}
}

func defaultUID(s *Server) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account(DefaultUser).UID
}

func TestAssigningAPublicKey(t *testing.T) {
	forms := publicForms(t)
	s := New(VSPC)
	access, _ := defaultLogin(t, s)
	path := "/api/v3/users/" + defaultUID(s) + "/logins/asymmetricalgorithm?description=d&scopes=rest"
	if got := do(s, "POST", path, access, "junk"); got.status != 400 {
		t.Errorf("junk: %d", got.status)
	}
	if got := do(s, "POST", path, access, string(forms["xml"]), "Content-Type", "application/octet-stream"); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := grant(s, "grant_type=public_key", "public_key="+b64(forms["xml"])); got.text(t, "encrypted_code") == "" {
		t.Error(got.body)
	}
}

func TestAsynchronousActionsRunOnceWithinFiveMinutes(t *testing.T) {
	const id = "ba547d14-c556-42bb-b85c-eeeb16e2f5e7"
	s := New(VSPC, fixed(), WithAccessLifetime(time.Hour))
	access, _ := defaultLogin(t, s)
	start := func(id string) answer {
		return do(s, "POST", "/api/v3/discovery/rules/7/start", access, "{}", "X-Request-id", id)
	}
	for range 3 {
		if got := start(id); got.status != 202 || got.header.Get("Location") != "https://example.com/api/v3/asyncActions/"+id || got.body != "" {
			t.Fatalf("%d %v %s", got.status, got.header, got.body)
		}
	}
	if n := s.Counters().Executed["start 7"]; n != 1 {
		t.Errorf("executed %d times", n)
	}
	if got := do(s, "GET", "/api/v3/asyncActions/"+id, access, ""); got.status != 200 || !strings.Contains(got.body, `"status":"succeed"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := do(s, "GET", "/api/v3/asyncActions/"+id+"/result", access, ""); got.status != 200 || !strings.Contains(got.body, `"ruleUid":"7"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := do(s, "GET", "/api/v3/asyncActions/x", access, ""); got.status != 404 {
		t.Errorf("no such action: %d", got.status)
	}
	s.Advance(5 * time.Minute)
	start(id)
	if got := start(""); got.status != 200 {
		t.Errorf("without an id: %d", got.status)
	}
	if got := start("no uuid"); got.status != 400 {
		t.Errorf("a bad id: %d", got.status)
	}
	if n := s.Counters().Executed["start 7"]; n != 3 {
		t.Errorf("executed %d times", n)
	}
}

func TestOldLoginRoutes(t *testing.T) {
	forms := publicForms(t)
	s := New(VSPC35, fixed(), WithPublicKey(DefaultUser, forms["xml"], false))
	post := func(path string, pairs ...string) answer {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for _, pair := range pairs {
			name, value, _ := strings.Cut(pair, "=")
			w.WriteField(name, value)
		}
		w.Close()
		return do(s, "POST", "/api/v3/"+path, "", body.String(), "Content-Type", w.FormDataContentType())
	}
	data := func(got answer) map[string]any {
		t.Helper()
		m, _ := got.json(t)["data"].(map[string]any)
		if got.status != 200 || keys(m) != "accessToken expirationTime mfaToken refreshToken" {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return m
	}
	first := data(post("authentication/usernamepassword", "username="+DefaultUser, "password="+DefaultPassword))
	second := data(post("authentication/refresh", "refreshToken="+first["refreshToken"].(string)))
	if status(s, second["accessToken"].(string)) != 200 || first["mfaToken"] != nil {
		t.Error("no session")
	}
	mfa := data(post("authentication/usernamepassword", "username="+DefaultMFAUser, "password="+DefaultMFAPassword))
	if mfa["accessToken"] != nil || mfa["mfaToken"] == nil {
		t.Error(mfa)
	}
	if got := post("token", "grant_type=mfa", "mfa_token="+mfa["mfaToken"].(string), "mfa_code="+codeAt(t, epoch)); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := post("authentication/usernamepassword", "username="+DefaultUser, "password=x"); got.status != 401 || !strings.HasPrefix(got.body, `{"errors":[`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	const path = "/api/v3/authentication/asymmetricalgorithm"
	got := do(s, "POST", path, "", string(forms["xml"]), "Content-Type", "application/octet-stream")
	challenge := got.json(t)["data"].(map[string]any)["challenge"].(string)
	data(do(s, "PATCH", path, "", string(decrypt(t, PKCS1v15, challenge)), "Content-Type", "application/octet-stream"))
	if c := s.Counters(); c.PasswordGrants != 3 || c.RefreshGrants != 1 || c.MFAGrants != 1 || c.OtherGrants != 2 || c.Logins != 3 {
		t.Errorf("%+v", c)
	}

	s = New(VSPC)
	if got := post("authentication/usernamepassword", "username="+DefaultUser, "password="+DefaultPassword); got.status != 401 && got.status != 404 {
		t.Errorf("3.6: %d", got.status)
	}
	access, _ := defaultLogin(t, s)
	if got := do(s, "POST", path, access, "x"); got.status != 404 {
		t.Errorf("3.6: %d", got.status)
	}
}
