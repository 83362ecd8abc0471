package linked

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLicences reads those of two modules that this program uses, and of Go.
func TestLicences(t *testing.T) {
	modules := []Module{
		{Path: "github.com/google/licensecheck", Version: "v0.3.1"},
		{Path: "github.com/google/go-containerregistry", Version: "v0.22.1"},
		{Path: StandardLibrary, Version: "1.26.0"},
	}
	folders, err := moduleFolders(t.Context(), ".", modules)
	if err != nil {
		t.Fatal(err)
	}
	if err := readLicences(modules, folders); err != nil {
		t.Fatal(err)
	}
	text := string(Text(modules))
	for i, want := range []string{"BSD-3-Clause", "Apache-2.0", "BSD-3-Clause"} {
		if m := modules[i]; m.Licence != want && !strings.Contains(m.Licence, want) || len(m.Files) == 0 {
			t.Errorf("%s has %s in %d files, want %s", m.Path, m.Licence, len(m.Files), want)
		}
		if !strings.Contains(text, "\n"+modules[i].Path+" "+modules[i].Version+": LICENSE") {
			t.Errorf("the text does not name %s", modules[i].Path)
		}
	}

	empty := t.TempDir()
	for _, name := range []string{"NOTICE", "license.go", "README"} {
		if err := os.WriteFile(filepath.Join(empty, name), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err = readLicences([]Module{{Path: "example.com/a", Version: "v1.0.0"}}, map[string]string{"example.com/a": empty})
	if err == nil || !strings.Contains(err.Error(), "modules without a licence: example.com/a@v1.0.0") {
		t.Errorf("error %v", err)
	}
}

func TestExpressionAssertsOnlyWhatItKnows(t *testing.T) {
	text, err := os.ReadFile("../../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"Apache":        {string(text), "Apache-2.0"},
		"something":     {"You may do this and that on Sundays.", "NOASSERTION"},
		"mostly others": {string(text) + strings.Repeat("And you owe us a song. ", 1000), "NOASSERTION"},
		"nothing":       {"", "NOASSERTION"},
	} {
		if got := expression([]byte(tt.text)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
