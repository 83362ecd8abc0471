// What a configuration costs as it gets longer: nothing may grow faster than it.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// Work that is done for each part with each other part mostly shows in what is allocated:
// four times as many parts take about four times the memory, not sixteen times.
//
// Not parallel: what others allocate would count.
func TestALongConfigurationGrowsNoFasterThanItsLength(t *testing.T) {
	const hash = "$2a$14$tBpPJOJ2k7nQSNQJyJEzLuHkRRhqmFMTCTLUYgcCrPOMWHlHWUNmC"
	site := func(address string, options ...string) string {
		return address + " {\n\tveeam_auth https://vbr.lab.local:9419 {\n\t\taccount svc {env.P}\n\t\t" + strings.Join(options, "\n\t\t") + "\n\t}\n}\n"
	}
	lines := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		few int
		of  func(n int) string
	}{
		"sites of one listener": {200, func(n int) string {
			var b strings.Builder
			for i := range n {
				b.WriteString(site(fmt.Sprintf("http://site-%d.localhost:9419", i)))
			}
			return b.String()
		}},
		"servers": {200, func(n int) string {
			var b strings.Builder
			for i := range n {
				b.WriteString(strings.Replace(site(fmt.Sprintf("http://site-%d.localhost:9419", i)), "vbr.", fmt.Sprintf("vbr%d.", i), 1))
			}
			return b.String()
		}},
		"directives of a site": {200, func(n int) string {
			var b strings.Builder
			for i := range n {
				b.WriteString("handle_path " + strings.ReplaceAll(site(fmt.Sprintf("/%d/*", i)), "\n", "\n\t"))
			}
			return ":9419 {\n" + b.String() + "}\n"
		}},
		"accounts": {500, func(n int) string { return site(":9419", "act_as {header.X-Account}", lines(n, "account a%d {env.P}")) }},
		"clients":  {500, func(n int) string { return site(":9419", lines(n, "client c%d "+hash)) }},
		"clients with accounts": {500, func(n int) string {
			return site(":9419", lines(n, "account a%[1]d {env.P}\nclient c%[1]d "+hash+" a%[1]d"))
		}},
		"keys of a client": {500, func(n int) string { return site(":9419", "client c {", lines(n, "key k%[1]d sha256:%064[1]x"), "}") }},
		"rules":            {200, func(n int) string { return site(":9419", lines(n, "allow path /api/v1/jobs/%d")) }},
		"hosts": {2000, func(n int) string {
			return site(":9419", "hosts "+strings.ReplaceAll(lines(n, "vbr%d.lab.local"), "\n", " "))
		}},
		"origins": {2000, func(n int) string {
			return site(":9419", "allowed_origins "+strings.ReplaceAll(lines(n, "https://vbr%d.lab.local"), "\n", " "))
		}},
	} {
		var took [3]float64
		for i := range took {
			took[i] = allocated(t, c.of(c.few<<i))
		}
		// What each part takes: a fixed part of the whole is in neither difference.
		if ratio := (took[2] - took[1]) / (took[1] - took[0]) / 2; ratio > 1.3 {
			t.Errorf("%s: each of %d takes %.2f times what each of %d takes: %.0f bytes in all, %.0f and %.0f", name, c.few*4, ratio, c.few*2, took[2], took[1], took[0])
		}
	}
}

// allocated is how many bytes are allocated until a Caddyfile is provisioned.
func allocated(t *testing.T, caddyfile string) float64 {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	text := []byte("{\n\tadmin off\n\tauto_https off\n}\n" + caddyfile)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
	if err != nil {
		t.Fatal(err)
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(result, config); err != nil {
		t.Fatal(err)
	}
	config.StorageRaw = fileStorage(t.TempDir())
	if err := validate(config); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}
