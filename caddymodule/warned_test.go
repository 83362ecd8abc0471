// What a configuration is warned of when it is loaded, because it has no effect.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

func TestWhatHasNoEffectIsWarnedOf(t *testing.T) {
	t.Parallel()
	const hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for name, c := range map[string]struct {
		options string
		behind  string // the block
		want    []string
	}{
		"nothing":                  {"allow path /a {\n}\ndefault deny", "", nil},
		"the end of a list":        {"allow preset monitor\ndeny *", "", nil},
		"a time to come":           {"allow {\nuntil 2999-01-31\npath /a\n}\nclient g {\nuntil 2999-01-31\nkey k " + hash + " {\nuntil 2999-01-31\n}\n}", "", nil},
		"another time":             {"deny {\nnot until 2001-01-31\npath /a\n}", "", nil},
		"behind all":               {"allow *\ndeny path /a", "", []string{"rule 1 at Caddyfile:7 before it matches every request", `"rule":"rule 2 at Caddyfile:8"`}},
		"a rule that has ended":    {"allow {\nuntil 2001-01-31\npath /a\n}\ndeny *", "", []string{"its until is in the past", `"rule":"rule 1 at Caddyfile:7"`}},
		"an approval has ended":    {"approve until 2001-01-31", "", []string{"its until is in the past"}},
		"a client that has ended":  {"client g {\nuntil 2001-01-31\nkey k " + hash + "\n}", "", []string{`"name":"client g"`}},
		"a key that has ended":     {"client g {\nkey k " + hash + " {\nuntil 2001-01-31T10:00 Europe/Berlin\n}\n}", "", []string{`"name":"key k of client g"`}},
		"a second one":             {"", "veeam_auth https://127.0.0.1:2 {\naccount svc {env.P}\n}", []string{"no request gets to one of the handlers veeam_auth"}},
		"a second one with a path": {"", "veeam_auth /a/* https://127.0.0.1:2 {\naccount svc {env.P}\n}", nil},
		"a second one of a handle": {"", "handle /a/* {\nveeam_auth https://127.0.0.1:2 {\naccount svc {env.P}\n}\n}", nil},
		"a second site":            {"", "}\n:59428 {\nveeam_auth https://127.0.0.1:2 {\naccount svc {env.P}\n}", nil},
		"after forward_auth":       {"", "forward_auth 127.0.0.1:3 {\nuri /auth\n}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := fmt.Sprintf("{\nadmin off\n}\n:59427 {\nveeam_auth https://127.0.0.1:1 {\naccount svc {env.P}\n%s\n}\n%s\n}\n", c.options, c.behind)
			result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
			config := new(caddy.Config)
			if err := json.Unmarshal(result, config); err != nil {
				t.Fatal(err)
			}
			log := filepath.Join(t.TempDir(), "log")
			config.StorageRaw = fileStorage(t.TempDir())
			config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"warnings": {
				BaseLog: caddy.BaseLog{WriterRaw: fmt.Appendf(nil, `{"output": "file", "filename": %q}`, log), Level: "WARN"}, Include: []string{"http.handlers.veeam_auth"},
			}}}
			if err := validate(config); err != nil {
				t.Fatal(err)
			}
			warned, _ := os.ReadFile(log)
			if len(c.want) == 0 && len(warned) > 0 || slices.ContainsFunc(c.want, func(part string) bool { return !strings.Contains(string(warned), part) }) || strings.Count(string(warned), "\n") > 1 {
				t.Errorf("%s\nis warned of:\n%s", text, warned)
			}
		})
	}
}
