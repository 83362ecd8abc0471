// Errors about files that options name.

package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// wrongFiles are files that no option accepts: one that is missing, a folder, and a text.
func wrongFiles(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("c4n4ry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"missing": filepath.Join(dir, "missing"), "folder": dir, "text": text}
}

// The error names the option and the file. What is in a file is an error with file and line
// when a Caddyfile is adapted; a file that is not there is one when it is loaded, because a
// Caddyfile may be adapted on another machine.
func TestAnErrorOfAFileNamesTheOptionAndTheFile(t *testing.T) {
	t.Parallel()
	for kind, file := range wrongFiles(t) {
		for option, directive := range map[string]string{
			"index_file":     "index_file " + file,
			"tls_trust_pool": "transport http {\ntls_trust_pool file " + file + "\n}",
		} {
			said := adaptError("https://127.0.0.1:1", "account svc {env.P}\n"+directive)
			at := map[string]string{"index_file": "at Caddyfile:4", "tls_trust_pool": "at Caddyfile:2"}[option] // that of the directive
			if line := strings.Contains(said, at); line != (kind == "text" || option == "index_file" && kind == "folder") {
				t.Errorf("%s: a file that is a %s is adapted with %s", option, kind, said)
			}
			if strings.HasPrefix(said, "<nil>") {
				adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
				adapted, _, err := adapter.Adapt([]byte("{\nadmin off\nstorage file_system "+t.TempDir()+"\n}\nhttp://127.0.0.1:59428 {\nveeam_auth https://127.0.0.1:1 {\naccount svc {env.P}\n"+directive+"\n}\n}\n"), nil)
				config := new(caddy.Config)
				if err != nil || json.Unmarshal(adapted, config) != nil {
					t.Fatal(err)
				}
				if err = validate(config); err != nil {
					said = strings.Replace(err.Error(), "tls.ca_pool.source.file", "tls_trust_pool", 1) // Caddy's words
				}
			}
			if !strings.Contains(said, option) || !strings.Contains(said, file) || strings.Contains(said, "c4n4ry") {
				t.Errorf("%s: a file that is a %s is %s", option, kind, said)
			}
		}
		key := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(key, keyPEM(testKey()), 0o600); err != nil {
			t.Fatal(err)
		}
		for option, a := range map[string]*account.Account{
			"key":        {Name: "svc", Grant: "public_key", Username: "u", Key: file},
			"public_key": {Name: "svc", Grant: "public_key", Username: "u", Key: key, PublicKey: file},
		} {
			if option == "public_key" && kind == "text" {
				continue // sent as it is
			}
			a.Prepare(account.Env{Product: "vspc", Expand: expand})
			if _, err := a.Resolve(); err == nil || !strings.Contains(err.Error(), "option "+option+", ") || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "c4n4ry") {
				t.Errorf("%s: a file that is a %s is %v", option, kind, err)
			}
		}
	}
}
