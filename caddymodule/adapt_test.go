// Golden files: what a Caddyfile becomes, or the error that it gets.

package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/google/go-cmp/cmp"

	_ "github.com/caddy-veeam/veeam-auth/caddymodule/admin" // its directives have golden files here, too
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/secrets"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/times" // its matchers, too
)

const adaptDir = "testdata/adapt"

// TestCaddyfilesBecomeWhatTheirGoldenFilesSay adapts each *.caddyfile. Beside it
// lies the JSON that it becomes, *.json, or the error, *.error.
//
// Not parallel: it sets the environment.
func TestCaddyfilesBecomeWhatTheirGoldenFilesSay(t *testing.T) {
	t.Setenv("VEEAM_AUTH_FORWARD", "") // else the files have its value
	files, err := filepath.Glob(filepath.Join(adaptDir, "*.caddyfile"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(file, ".caddyfile")
		t.Run(filepath.Base(base), func(t *testing.T) {
			input, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, kind := adapt(t, filepath.Base(file), input)
			golden, other := base+"."+kind, base+map[string]string{"json": ".error", "error": ".json"}[kind]
			if flag.Lookup("update").Value.String() == "true" {
				_ = os.Remove(other)
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(other); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("expected what %s says, got:\n%s", other, got)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if kind == "error" && !strings.Contains(got, filepath.Base(file)+":") {
				t.Errorf("the error names no file and line: %s", got)
			}
		})
	}
}

// adapt returns the indented JSON or the text of the error.
func adapt(t *testing.T, name string, input []byte) (text, kind string) {
	t.Helper()
	defer func() {
		if reason := recover(); reason != nil {
			t.Fatalf("%s: the adapter panics: %v\n%s", name, reason, debug.Stack())
		}
	}()
	adapter := caddyconfig.GetAdapter("caddyfile")
	result, warnings, err := adapter.Adapt(input, map[string]any{"filename": name})
	if err != nil {
		return err.Error() + "\n", "error"
	}
	for _, w := range warnings {
		t.Errorf("warning: %v", w)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, result, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n", "json"
}
