// The tests of the client against an emulator that accepts nothing but what the HTTP API of
// Vault and OpenBao documents.

package secretsource

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// bao is the emulated server.
type bao struct {
	*httptest.Server

	mu        sync.Mutex
	secrets   map[string]string // answers to GET by path
	tokens    map[string]bool
	namespace string
	lease     int
	logins    int
	reads     int
	status    int // instead of an answer
	redirect  string
	unlike    []string // what the API does not document
}

func newBao(t *testing.T) *bao {
	t.Helper()
	b := &bao{tokens: map[string]bool{"root": true}, secrets: map[string]string{
		"secret/data/veeam":  `{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"password":"hunter2\n","pin":7},"metadata":{"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":false,"version":2}},"warnings":null}`,
		"kv/team/veeam":      `{"request_id":"1","lease_id":"","renewable":false,"lease_duration":2764800,"data":{"password":"hunter3","data":"text"}}`,
		"database/creds/app": `{"lease_id":"database/creds/app/1","renewable":true,"lease_duration":3600,"data":{"password":"hunter4"}}`,
	}}
	b.Server = httptest.NewUnstartedServer(b)
	b.EnableHTTP2 = true
	b.StartTLS()
	t.Cleanup(func() {
		b.Close()
		if len(b.unlike) > 0 {
			t.Errorf("the client sends what the API does not document: %q", b.unlike)
		}
	})
	return b
}

func (b *bao) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	expect := func(ok bool, what string) {
		if !ok {
			b.unlike = append(b.unlike, what)
		}
	}
	expect(r.Proto == "HTTP/1.1", r.Proto)
	expect(r.Header.Get("X-Vault-Request") == "true", "no X-Vault-Request")
	expect(r.Header.Get("Authorization") == "" && r.URL.RawQuery == "", "credentials elsewhere, or a query")
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	expect(ok, r.URL.Path)
	answer := func(status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
	switch {
	case b.redirect != "":
		w.Header().Set("Location", b.redirect)
		answer(http.StatusTemporaryRedirect, "")
	case b.status != 0:
		answer(b.status, `{"errors":["hunter2"]}`)
	case r.Header.Get("X-Vault-Namespace") != b.namespace:
		answer(http.StatusNotFound, `{"errors":["no handler for route"]}`)
	case strings.HasPrefix(path, "auth/"):
		expect(r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/json" && r.Header.Get("X-Vault-Token") == "", "a login that is none")
		var fields map[string]string
		expect(json.NewDecoder(r.Body).Decode(&fields) == nil, "fields that are no texts")
		want := map[string]map[string]string{
			"auth/approle/login": {"role_id": "role", "secret_id": "s3cret"},
			"auth/k8s/login":     {"role": "veeam", "jwt": "j.w.t"},
		}[path]
		if want == nil || fmt.Sprint(fields) != fmt.Sprint(want) {
			answer(http.StatusBadRequest, `{"errors":["invalid role or secret ID"]}`)
			return
		}
		b.logins++
		token := fmt.Sprintf("hvs.%d", b.logins)
		b.tokens[token] = true
		answer(http.StatusOK, fmt.Sprintf(`{"lease_id":"","data":null,"auth":{"client_token":%q,"lease_duration":%d,"renewable":true}}`, token, b.lease))
	default:
		b.reads++
		expect(r.Method == http.MethodGet && r.ContentLength == 0, "a read that is none")
		switch text, ok := b.secrets[path]; {
		case !b.tokens[r.Header.Get("X-Vault-Token")]:
			answer(http.StatusForbidden, `{"errors":["permission denied"]}`)
		case !ok:
			answer(http.StatusNotFound, `{"errors":[]}`)
		default:
			answer(http.StatusOK, text)
		}
	}
}

// options are those of a client that trusts the server.
func (b *bao) options() VaultOptions {
	return VaultOptions{
		Address: b.URL, Roots: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}),
		Login: VaultLogin{Token: "{env.TOKEN}", Expand: expand(map[string]string{"{env.TOKEN}": "root"})},
	}
}

// expand reads placeholders from a table, and plain texts as they are.
func expand(values map[string]string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !strings.HasPrefix(text, "{") {
			return text, nil
		}
		if value, ok := values[text]; ok {
			return value, nil
		}
		return "", secret.ErrEmpty
	}
}

func newVault(t *testing.T, o VaultOptions) *Vault {
	t.Helper()
	v, err := NewVault(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestBothVersionsOfKVAreRead(t *testing.T) {
	b := newBao(t)
	v := newVault(t, b.options())
	for reference, want := range map[string]string{"secret/data/veeam#password": "hunter2\n", "kv/team/veeam#password": "hunter3", "kv/team/veeam#data": "text"} {
		if got, err := v.Read(reference); err != nil || got != want {
			t.Errorf("%s: %q %v", reference, got, err)
		}
	}
	if b.reads != 2 {
		t.Errorf("%d reads of two paths", b.reads)
	}
}

// No error has a value, and each says whether it may pass by itself.
func TestWhatIsNoSecretIsAnErrorWithoutValues(t *testing.T) {
	b := newBao(t)
	b.secrets["secret/data/gone"] = `{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z"}}}`
	b.secrets["secret/data/page"] = `<html>hunter2</html>`
	b.secrets["secret/data/long"] = `{"data":{"password":"` + strings.Repeat("hunter2", maxAnswer/7) + `"}}`
	v := newVault(t, b.options())
	for reference, want := range map[string]struct {
		says   string
		absent bool
	}{
		"secret/data/veeam#user":      {"no field", true},
		"secret/data/veeam#pin":       {"not a text", false},
		"secret/data/other#password":  {"no secret at this path", true},
		"secret/data/gone#password":   {"no version", true},
		"secret/data/page#password":   {"not that of its API", false},
		"secret/data/long#password":   {"too long", false},
		"database/creds/app#password": {"lease", false},
		"secret/data/veeam":           {"write a path and a field", false},
		"sys/mounts/secret#type":      {"write a path and a field", false},
		"auth/token/self#id":          {"write a path and a field", false},
		"secret/../sys/seal#x":        {"write a path and a field", false},
		"secret//veeam#x":             {"write a path and a field", false},
	} {
		got, err := v.Read(reference)
		if err == nil || got != "" || !strings.Contains(err.Error(), want.says) || strings.Contains(err.Error(), "hunter") || errors.Is(err, secret.ErrAbsent) != want.absent {
			t.Errorf("%s: %q %v", reference, got, err)
		}
	}
}

func TestAServerThatDoesNotAnswerIsNotAvailable(t *testing.T) {
	b := newBao(t)
	for status, passes := range map[int]bool{500: true, 502: true, 503: true, 429: true, 472: true, 473: true, 403: false, 400: false, 404: false, 405: false} {
		b.status = status
		if got, err := newVault(t, b.options()).Read("secret/data/veeam#password"); err == nil || got != "" || errors.Is(err, secret.ErrUnavailable) != passes || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%d: %q %v", status, got, err)
		}
	}
	o := b.options()
	b.Close()
	if _, err := newVault(t, o).Read("secret/data/veeam#password"); !errors.Is(err, secret.ErrUnavailable) || !strings.Contains(err.Error(), "cannot be reached") {
		t.Error(err)
	}
}

// A server that is no Vault, or a proxy in front of it, may repeat the token.
func TestNoErrorQuotesAnAnswerThatIsNotHTTP(t *testing.T) {
	for _, answer := range []string{"%s\r\n\r\n", "HTTP/1.1 %s OK\r\n\r\n", "HTTP/1.1 200 OK\r\n%s\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprintf(conn, answer, r.Header.Get("X-Vault-Token"))
				conn.Close()
			}
		}))
		defer server.Close()
		o := VaultOptions{Address: server.URL, Login: VaultLogin{Token: "{env.TOKEN}", Expand: expand(map[string]string{"{env.TOKEN}": "hvs.canary"})}}
		if _, err := newVault(t, o).Read("secret/data/veeam#password"); err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

// The token goes to the configured server alone, over TLS with its certificate.
func TestTheTokenGoesToNoOtherServer(t *testing.T) {
	b := newBao(t)
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	b.redirect = other.URL
	if _, err := newVault(t, b.options()).Read("secret/data/veeam#password"); err == nil || !strings.Contains(err.Error(), "redirects") || asked {
		t.Error(err, asked)
	}
	b.redirect = ""
	o := b.options()
	o.Roots = nil
	if _, err := newVault(t, o).Read("secret/data/veeam#password"); err == nil || errors.Is(err, secret.ErrUnavailable) || b.reads > 0 {
		t.Error(err)
	}
	for _, address := range []string{"", "bao:8200", "http://bao.lab.local:8200", "http://192.0.2.1", "ftp://localhost", "https://user:x@bao", "https://bao?x", "https://bao#x"} {
		if _, err := NewVault(VaultOptions{Address: address}); err == nil {
			t.Errorf("%s is accepted", address)
		}
	}
	for _, address := range []string{"http://127.0.0.1:8100", "http://[::1]:8100", "http://localhost", "https://bao.lab.local/prefix/"} {
		if _, err := NewVault(VaultOptions{Address: address}); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewVault(VaultOptions{Address: "https://bao", Roots: []byte("no PEM")}); err == nil {
		t.Error("a file without certificates is accepted")
	}
}

func TestLoginsByAppRoleAndKubernetes(t *testing.T) {
	for name, login := range map[string]VaultLogin{
		"approle":    {Mount: "approle", Fields: map[string]string{"role_id": "role", "secret_id": "{file./secret_id}"}},
		"kubernetes": {Mount: "k8s", Fields: map[string]string{"role": "veeam", "jwt": "{file./token}"}},
	} {
		b := newBao(t)
		b.namespace, b.lease = "team-a", 3600
		o := b.options()
		o.Namespace = "team-a"
		o.Login = login
		o.Login.Expand = expand(map[string]string{"{file./secret_id}": "s3cret", "{file./token}": "j.w.t"})
		v := newVault(t, o)
		v.recent.maxAge = time.Nanosecond
		read := func(logins int) {
			t.Helper()
			if got, err := v.Read("kv/team/veeam#password"); err != nil || got != "hunter3" || b.logins != logins {
				t.Errorf("%s: %q %v, %d logins", name, got, err, b.logins)
			}
		}
		read(1)
		read(1)
		delete(b.tokens, "hvs.1") // revoked
		read(2)
		v.session.expiry = time.Now()
		read(3)

		b.tokens = map[string]bool{}
		b.secrets = map[string]string{}
		if _, err := v.Read("kv/team/veeam#password"); err == nil || b.logins != 4 {
			t.Errorf("%s: %v, %d logins", name, err, b.logins)
		}
		v.session.login.Fields = map[string]string{"role_id": "hunter2"}
		v.session.text = secret.Value{}
		_, err := v.fetch(t.Context(), "kv/team/veeam")
		if err == nil || !strings.Contains(err.Error(), "login at vault failed") || strings.Contains(err.Error(), "hunter2") || errors.Is(err, secret.ErrAbsent) {
			t.Error(name, err)
		}
	}
}

// A secret that has changed is read after max_age, and at once after a refused login; an
// error is asked about again after a second.
func TestASecretIsReadAgainAfterARefusal(t *testing.T) {
	b := newBao(t)
	o := b.options()
	o.MaxAge = time.Hour
	v := newVault(t, o)
	read := func(want string, reads int) {
		t.Helper()
		got, err := v.Read("kv/team/veeam#password")
		if err != nil {
			got = "error"
		}
		if got != want || b.reads != reads {
			t.Errorf("%s %v after %d reads, want %s after %d", got, err, b.reads, want, reads)
		}
	}
	read("hunter3", 1)
	b.secrets["kv/team/veeam"] = `{"data":{"password":"new"}}`
	read("hunter3", 1)
	secret.Refused()
	read("new", 2)
	delete(b.secrets, "kv/team/veeam")
	secret.Refused()
	read("error", 3)
	v.recent.entries["kv/team/veeam"].at = time.Now().Add(time.Hour)
	read("error", 3)
	v.recent.entries["kv/team/veeam"].at = time.Now().Add(-failureAge)
	b.secrets["kv/team/veeam"] = `{"data":{"password":"back"}}`
	read("back", 4)
}

// A token that an agent replaces is read for each request.
func TestTheTokenIsReadForEachRequest(t *testing.T) {
	b := newBao(t)
	o := b.options()
	token := "root"
	o.Login.Expand = func(string) (string, error) { return token, nil }
	v := newVault(t, o)
	v.recent.maxAge = time.Nanosecond
	if _, err := v.Read("kv/team/veeam#password"); err != nil {
		t.Fatal(err)
	}
	token, b.tokens = "next", map[string]bool{"next": true}
	if _, err := v.Read("kv/team/veeam#password"); err != nil {
		t.Fatal(err)
	}
	o.Login = VaultLogin{}
	b.tokens[""] = true // an agent adds its own
	if _, err := newVault(t, o).Read("kv/team/veeam#password"); err != nil {
		t.Fatal(err)
	}
}
