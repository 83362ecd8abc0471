// Tests of sealed files of scratch codes.

package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func TestScratchCodesStaySealedWhileTheyAreTaken(t *testing.T) {
	keys := keysetOf(t)
	rotated, err := keys.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	place := account.Seal{Product: "azure", Account: "svc"}
	name := filepath.Join(t.TempDir(), "codes")
	file, err := newSecretFile(name, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	file.seal = &commandSeal{place, keys, account.ScratchPurpose, "first"}
	if err := file.commit("11111111\n22222222\n"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		keys sealed.Sealer
		want string
	}{{keys, "11111111"}, {rotated, "22222222"}} {
		read := func(keys sealed.Sealer) (*scratchCodes, error) {
			return readScratchCodes(name, func() (*commandSeal, error) { return &commandSeal{place, keys, account.ScratchPurpose, "--key x"}, nil })
		}
		before, _ := os.ReadFile(name)
		if _, err := read(keysetOf(t)); err == nil || !strings.Contains(err.Error(), name+" cannot be opened with --key x") {
			t.Errorf("another key: %v", err)
		}
		if _, err := readScratchCodes(name, func() (*commandSeal, error) { return nil, errNoSealKey }); !errors.Is(err, errNoSealKey) {
			t.Errorf("no key: %v", err)
		}
		if after, _ := os.ReadFile(name); string(after) != string(before) {
			t.Error("a file that did not open has changed")
		}
		codes, err := read(step.keys)
		if err != nil {
			t.Fatal(err)
		}
		code, err := codes.take()
		if err != nil || code.Reveal() != step.want {
			t.Errorf("%q, not %q: %v", code.Reveal(), step.want, err)
		}
		content, _ := os.ReadFile(name)
		if text := string(content); !account.IsSealed(text) || strings.Count(text, "\n") != 1 || strings.Contains(text, usedMark) {
			t.Errorf("%q", text)
		}
		if info, _ := os.Stat(name); info.Mode().Perm() != 0o600 {
			t.Error(info.Mode())
		}
	}
	_, err = readScratchCodes(name, func() (*commandSeal, error) {
		return &commandSeal{place, keys, account.ScratchPurpose, "the old key"}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "cannot be opened with the old key") {
		t.Errorf("the new key does not seal: %v", err)
	}
}

// unsealing seals nothing.
type unsealing struct{ sealed.Sealer }

func (unsealing) Encrypt([]byte, []byte) ([]byte, error) { return nil, errors.New("no") }

func TestACodeThatCannotBeMarkedIsNotTaken(t *testing.T) {
	name := filepath.Join(t.TempDir(), "codes")
	place, keys := account.Seal{Product: "azure", Account: "svc"}, keysetOf(t)
	content, err := place.Seal(keys, account.ScratchPurpose, "11111111")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	codes, err := readScratchCodes(name, func() (*commandSeal, error) {
		return &commandSeal{place, unsealing{keys}, account.ScratchPurpose, ""}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := codes.take(); err == nil || !code.Equal(secret.Value{}) {
		t.Errorf("taken: %v", err)
	}
	if after, _ := os.ReadFile(name); string(after) != content {
		t.Errorf("%q", after)
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 1 {
		t.Error(left)
	}
}

func keysetOf(t testing.TB) *sealed.Keyset {
	t.Helper()
	keys, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
