// Tests of the files that the commands write.

package command

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestASecretFileAppearsWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "totp")
	f, err := newSecretFile(name, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.prepare("a first secret that is longer\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Error("it is there before it is done")
	}
	pending, err := os.ReadFile(f.pending())
	if err != nil || string(pending) != "a first secret that is longer\n" {
		t.Errorf("%q %v", pending, err)
	}
	if err := f.commit("secret\n"); err != nil {
		t.Fatal(err)
	}
	f.discard()
	content, err := os.ReadFile(name)
	if err != nil || string(content) != "secret\n" {
		t.Errorf("%q %v", content, err)
	}
	if info, _ := os.Stat(name); info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 1 {
		t.Error(left)
	}
}

// Between the look and the end somebody else may have written the file.
func TestASecretFileReplacesNothingUnasked(t *testing.T) {
	name := filepath.Join(t.TempDir(), "totp")
	f, err := newSecretFile(name, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.commit("ours"); err == nil {
		t.Error("it was replaced")
	}
	if content, _ := os.ReadFile(name); string(content) != "theirs" {
		t.Errorf("%q", content)
	}
	if kept, err := os.ReadFile(f.pending()); err != nil || string(kept) != "ours" {
		t.Errorf("%q %v", kept, err)
	}
	f.discard()
	if _, err := newSecretFile(name, false, nil); err == nil {
		t.Error("begun although it is there")
	}
	forced, err := newSecretFile(name, true, nil)
	if err != nil || forced.commit("ours") != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(name); string(content) != "ours" {
		t.Errorf("%q", content)
	}
}

func TestASecretForTheStandardOutputTouchesNoFile(t *testing.T) {
	var out bytes.Buffer
	f, err := newSecretFile("-", false, &out)
	if err != nil || f.commit("secret\n") != nil || out.String() != "secret\n" {
		t.Errorf("%q %v", &out, err)
	}
	f.discard()
}

// A reader that has gone is noticed before the secret counts, and one that is there gets it once.
func TestASecretIsPrintedBeforeItCounts(t *testing.T) {
	t.Parallel()
	gone, reader := io.Pipe()
	gone.Close()
	f, err := newSecretFile("-", false, reader)
	if err != nil {
		t.Fatal(err)
	}
	if f.prepare("secret\n") == nil || f.shown {
		t.Error("nobody reads it")
	}
	var out strings.Builder
	f.out = &out
	for _, step := range []func(string) error{f.prepare, f.prepare, f.commit} {
		if err := step("secret\n"); err != nil || out.String() != "secret\n" || !f.shown {
			t.Errorf("%v %q", err, out.String())
		}
	}
}

func TestTheFirstConfigurationThatExistsIsUsed(t *testing.T) {
	dir := t.TempDir()
	here, packaged := filepath.Join(dir, "Caddyfile"), filepath.Join(dir, "packaged")
	for _, want := range []string{here, packaged, here} { // neither exists, the second, both
		if got := firstFile(here, packaged); got != want {
			t.Errorf("%s, not %s", got, want)
		}
		name := packaged
		if want == packaged {
			name = here
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The file that was found names secrets and servers, so that nobody has to guess which it was.
func TestTheConfigurationThatWasFoundIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("Caddyfile", []byte("http://localhost:8099 {\n\tveeam_auth https://127.0.0.1:1 {\n\t\taccount svc {env.P}\n\t}\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]bool{"": true, "Caddyfile": false} {
		var stderr strings.Builder
		if _, err := (&configFlags{config: given}).load(nil, &stderr); err != nil || strings.Contains(stderr.String(), "Using the configuration Caddyfile\n") != want {
			t.Errorf("%q: %s, %v", given, stderr.String(), err)
		}
	}
}

func TestScratchCodesAreTakenOneByOne(t *testing.T) {
	dir := t.TempDir()
	name, link := filepath.Join(dir, "codes"), filepath.Join(dir, "link")
	if err := os.WriteFile(name, []byte("# mine\n\nused 2025-01-01T00:00:00Z 11111111\n 22222222 \n33333333"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"22222222", "33333333"} {
		codes, err := readScratchCodes(link, nil)
		if err != nil {
			t.Fatal(err)
		}
		code, err := codes.take()
		if err != nil || code.Reveal() != want {
			t.Errorf("%q, not %q: %v", code.Reveal(), want, err)
		}
		content, _ := os.ReadFile(name)
		if !strings.Contains(string(content), "\nused "+time.Now().UTC().Format(time.DateOnly)) || !strings.HasPrefix(string(content), "# mine\n\n") {
			t.Errorf("%s", content)
		}
	}
	if _, err := readScratchCodes(link, nil); err == nil {
		t.Error("a used code is taken again")
	}
	if info, _ := os.Lstat(link); info.Mode().Type() != os.ModeSymlink {
		t.Error("the link was replaced by a file")
	}
}

// Whoever names another file loses neither it nor what it holds.
func TestAFileOfSomethingElseHoldsNoScratchCodes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "codes")
	for what, text := range map[string]string{
		"a password":         "correct horse battery",
		"a seed":             "KRUGS4ZANFZSAYJAONSWK3DGFY\n",
		"codes and more":     "11111111\n{\n",
		"a long file":        strings.Repeat("11111111\n", maxScratchCodes/9+1),
		"one line too long":  "11111111\n" + strings.Repeat("1", maxScratchCodes-10),
		"nothing but spaces": " \n\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readScratchCodes(name, nil); err == nil || strings.Contains(err.Error(), "horse") || strings.Contains(err.Error(), "KRUGS") {
			t.Errorf("%s: %v", what, err)
		}
		if content, _ := os.ReadFile(name); string(content) != text {
			t.Errorf("%s was changed", what)
		}
	}
}

func TestAPasswordIsNoArgument(t *testing.T) {
	t.Setenv("P12", "hunter2")
	for text, want := range map[string]string{"": "", "{env.P12}": "hunter2"} {
		if got, err := placeholderFlag("--password", text); err != nil || got.Reveal() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"hunter2", "x{env.P12}", "{env.NONE}", "{file./none}", "{http.request.uri}"} {
		if _, err := placeholderFlag("--password", text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Which forms there are is tested with internal/secret. This one has a byte order mark, an
// encoding and a line end of its own.
func TestFilesThatPowerShellWritesAreReadByCommands(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, "file")
		content := "\xff\xfe" + strings.Join(strings.Split(text+"\r\n", ""), "\x00") + "\x00"
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyset, err := keysetOf(t).Text()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readKeyFile(file(keyset)); err != nil {
		t.Errorf("--key: %v", err)
	}
	if codes, err := readScratchCodes(file("1234567890"), nil); err != nil || codes.left() != 1 {
		t.Errorf("scratch codes: %v", err)
	}
	if content, err := readContainer(file("MAMCAQE=")); err != nil || len(content) != 5 {
		t.Errorf("container: %v", err)
	}
	if value, err := placeholderFlag("--password", "{file."+file("password")+"}"); err != nil || value.Reveal() != "password" {
		t.Errorf("--password: %v", err)
	}
}
