// The tests of the app and of its global option.

package secrets

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
)

// provision makes the app of a configuration.
func provision(t *testing.T, config string) (*App, error) {
	t.Helper()
	app := new(App)
	if err := json.Unmarshal([]byte(config), app); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Cleanup() })
	return app, app.Provision(caddy.Context{Context: t.Context()})
}

// read is what an account reads.
func read(t *testing.T, placeholder, want string) {
	t.Helper()
	got, err := caddymodule.ReadPlaceholder(placeholder)
	if err != nil {
		got = "error: " + err.Error()
	}
	if !strings.Contains(got, want) || want == "" {
		t.Errorf("%s is %s, want %s", placeholder, got, want)
	}
}

// The placeholders have the semantics of {file.…}: one final line end is left out, an empty
// value is an error that names the placeholder.
func TestPlaceholdersAreReadFromTheirSources(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/secret/data/veeam" && r.Header.Get("X-Vault-Token") == "t0ken" {
			_, _ = w.Write([]byte(`{"data":{"data":{"password":"hunter2\n","empty":""},"metadata":{}}}`))
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer agent.Close()
	t.Setenv("VAULT_TOKEN", "t0ken")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo hunter3; echo"), 0o600); err != nil {
		t.Fatal(err)
	}

	read(t, "{vault.secret/data/veeam#password}", "error: {vault.secret/data/veeam#password} cannot be used: the global option veeam_secrets has no vault")
	first, err := provision(t, `{"exec":{"programs":["/bin/sh"]},"vault":{"address":"`+agent.URL+`","token":"{env.VAULT_TOKEN}"}}`)
	if err != nil {
		t.Fatal(err)
	}
	read(t, "a{vault.secret/data/veeam#password}b", "ahunter2b")
	read(t, "{vault.secret/data/veeam#empty}", "error: {vault.secret/data/veeam#empty} cannot be used: it is empty")
	read(t, "{vault.secret/data/other#password}", "error: {vault.secret/data/other#password} cannot be used: vault has answered 403")
	read(t, "{exec./bin/sh "+script+"}", "hunter3\n")
	read(t, "{exec./bin/echo x}", "does not allow this program")

	// Another configuration counts when it runs, and the one before does not end it.
	second, err := provision(t, `{"exec":{"programs":["/bin/echo"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	read(t, "{vault.secret/data/veeam#password}", "hunter2")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	read(t, "{exec./bin/echo x}", "x")
	read(t, "{vault.secret/data/veeam#password}", "has no vault")
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	read(t, "{exec./bin/echo x}", "has no exec")
}

func TestAConfigurationThatCannotBeIsRefused(t *testing.T) {
	for config, says := range map[string]string{
		`{"exec":{}}`:                    "exec: the paths of programs",
		`{"exec":{"programs":["pass"]}}`: "exec: program pass: it must be an absolute path",
		`{"exec":{"programs":["/bin/x"],"timeout":60000000000}}`: "exec: timeout 1m0s",
		`{"vault":{}}`: "vault: the address",
		`{"vault":{"address":"http://bao.lab.local"}}`:                                        "vault: the address http://bao.lab.local of vault requires https",
		`{"vault":{"address":"https://bao","token":"hunter2"}}`:                               "vault: token must be a placeholder",
		`{"vault":{"address":"https://bao","token":"{vault.a/b#c}"}}`:                         "vault: token must be a placeholder",
		`{"vault":{"address":"https://bao","token":"{env.A}{vault.a/b#c}"}}`:                  "vault: token must be a placeholder",
		`{"vault":{"address":"https://bao","approle":{}}}`:                                    "vault: approle requires a role id",
		`{"vault":{"address":"https://bao","approle":{"role_id":"a","secret_id":"hunter2"}}}`: "vault: the secret id of approle must be a placeholder",
		`{"vault":{"address":"https://bao","kubernetes":{}}}`:                                 "vault: kubernetes requires a role",
		`{"vault":{"address":"https://bao","ca_file":"/nowhere.pem"}}`:                        "vault: ca_file",
		`{"vault":{"address":"https://bao","token":"{env.A}","approle":{"role_id":"a"}}}`:     "only one of",
	} {
		if _, err := provision(t, config); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// A file of authorities without one is an error, also an empty one: without it, those of the
// system would count.
func TestAFileOfAuthoritiesThatCannotBeIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": "c4n4ry"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, line := range map[string]bool{filepath.Join(dir, "empty"): true, filepath.Join(dir, "text"): true, dir: false, filepath.Join(dir, "missing"): false} {
		_, err := provision(t, `{"vault":{"address":"https://bao","ca_file":"`+file+`"}}`)
		if err == nil || !strings.Contains(err.Error(), "vault: ca_file") || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", file, err)
		}
		_, adapted := parseApp(caddyfile.NewTestDispenser("veeam_secrets {\nvault https://bao {\nca_file "+file+"\n}\n}"), nil)
		if line && (adapted == nil || adapted.Error() != err.Error()+", at Testfile:3") || !line && adapted != nil {
			t.Errorf("%s: adapted with %v, want %v", file, adapted, err)
		}
	}
}

func TestTheGlobalOptionIsRefusedWithFileAndLine(t *testing.T) {
	for input, says := range map[string]string{
		"veeam_secrets {\n}":                                                "requires exec or vault",
		"veeam_secrets c4n4ry {\n}":                                         "accepts no arguments",
		"veeam_secrets {\nexec\n}":                                          "paths of programs",
		"veeam_secrets {\nexec /a\nexec /b\n}":                              "exec is set twice",
		"veeam_secrets {\nexec /a {\nmax_age x\n}\n}":                       "max_age x: it must be a duration",
		"veeam_secrets {\nexec /a {\nmax_age 2h\n}\n}":                      "max_age 2h0m0s: it must be at most",
		"veeam_secrets {\nexec /a {\nshell\n}\n}":                           "unrecognized option (not shown, it may be a secret) of exec: allowed: timeout, max_age",
		"veeam_secrets {\nvault\n}":                                         "vault requires an address",
		"veeam_secrets {\nvault https://bao x\n}":                           "vault requires an address",
		"veeam_secrets {\nvault https://bao {\ntoken\n}\n}":                 "token of vault requires a value",
		"veeam_secrets {\nvault https://bao {\ntoken {env.A} {env.B}\n}\n}": "too many values",
		"veeam_secrets {\nvault https://bao {\nlease x\n}\n}":               "unrecognized option (not shown, it may be a secret) of vault: allowed: token,",
		"veeam_secrets {\nvault https://bao {\nc4n4ry\n}\n}":                "(not shown, it may be a secret) of vault",
		"veeam_secrets {\nc4n4ry\n}":                                        "(not shown, it may be a secret) of veeam_secrets",
		"veeam_secrets {\nvault https://bao {\ntokn x\n}\n}":                "unrecognized option tokn of vault",
		"veeam_secrets {\nvault https://bao {\nauth_mount x\n}\n}":          "auth_mount requires approle or kubernetes",
	} {
		if _, err := parseApp(caddyfile.NewTestDispenser(input), nil); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "Testfile:") || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", input, err)
		}
	}
	if _, err := parseApp(caddyfile.NewTestDispenser("veeam_secrets {\nexec /a\n}"), 1); err == nil {
		t.Error("two options are accepted")
	}
}
