// Secrets of an account, as they are resolved.

package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// Not parallel: its subtests set a variable of the environment.
func TestAKeyInThePlaceOfItsPathIsInNoError(t *testing.T) {
	const canary, kind = "canaryKeyBytes", "PRIVATE KEY"
	for name, content := range map[string]string{
		"pem":   "-----BEGIN " + kind + "-----\n" + canary + "\n-----END " + kind + "-----\n",
		"long":  strings.Repeat(canary, 1000),
		"short": canary,
		"nul":   canary + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			texts := []string{"{file." + path + "}"}
			if name != "nul" {
				t.Setenv("CANARY_KEY", content)
				texts = append(texts, "{env.CANARY_KEY}")
			}
			for _, text := range texts {
				_, err := ready(&account.Account{Name: "svc", Grant: "public_key", Key: text}).Resolve()
				if err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), text) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	if _, err := ready(&account.Account{Name: "svc", Grant: "public_key", Key: "/no/such/key"}).Resolve(); err == nil || !strings.Contains(err.Error(), "/no/such/key") {
		t.Errorf("a path in plain: %v", err)
	}
}
