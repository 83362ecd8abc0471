// Secrets of sources that neither files nor variables hold.

package account

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// As a missing file: a next_password that its source does not have is none, and another
// secret that is missing is an error.
func TestANextPasswordThatItsSourceDoesNotHaveIsNone(t *testing.T) {
	values := map[string]string{"kv/a#password": "p"}
	sources := &secret.Sources{Read: map[string]func(string) (string, error){secret.SourceVault: func(name string) (string, error) {
		if value, ok := values[name]; ok {
			return value, nil
		}
		return "", fmt.Errorf("at its path: %w", secret.ErrAbsent)
	}}}
	sources.Use()
	defer sources.Withdraw()
	a := &Account{Name: "svc", Password: "{vault.kv/a#password}", NextPassword: "{vault.kv/a#next}"}
	a.Prepare(Env{Product: "vbr", Expand: func(text string, lookup func(string) (any, bool)) (string, error) {
		value, _ := lookup(strings.Trim(text, "{}"))
		return fmt.Sprint(value), nil
	}})
	a.Username = "{vault.kv/a#password}"
	if next := a.ReadNext(t.Context()); next.Err != nil || next.Value != nil {
		t.Errorf("none: %v %v", next.Value, next.Err)
	}
	values["kv/a#next"] = "q"
	if next := a.ReadNext(t.Context()); next.Err != nil || next.Value == nil || next.Value.Account.Password.Reveal() != "q" {
		t.Errorf("one: %v %v", next.Value, next.Err)
	}
	delete(values, "kv/a#password")
	if next := a.ReadNext(t.Context()); next.Err == nil || next.Value != nil {
		t.Errorf("without another secret: %v %v", next.Value, next.Err)
	}
}
