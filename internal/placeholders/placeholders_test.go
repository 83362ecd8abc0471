package placeholders

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// FuzzPlaceholders: what is accepted has no placeholder that Caddy's replacer does
// not know, and no error repeats more than the name of a variable.
func FuzzPlaceholders(f *testing.F) {
	for _, seed := range []string{"word", "{env.X}", "{file./x}", "{X}", "${X}", "{{env.X}}", "{env:X}", `a\{b\}`, "{env.{env.X}}", "{", "}{", `{env.\}}`, "{system.os}", "{exec./bin/pass show x}", "{vault.secret/data/x#y}", "{vault.x"} {
		f.Add(seed)
	}
	known := caddy.NewEmptyReplacer()
	known.Map(func(key string) (any, bool) {
		ours := strings.HasPrefix(key, "env.") || strings.HasPrefix(key, "file.") || strings.HasPrefix(key, "system.") ||
			strings.HasPrefix(key, "exec.") || strings.HasPrefix(key, "vault.")
		return "x", ours
	})
	f.Fuzz(func(t *testing.T, text string) {
		err := Check("password", text)
		if _, unknown := known.ReplaceOrErr(text, true, true); err == nil && unknown != nil && strings.Count(text, "{") < 100 {
			t.Fatalf("%q is accepted: %v", text, unknown)
		}
		const canary = "canaryq7"
		for _, marked := range []string{text + canary, canary + text, "{" + canary + text, text + "{" + canary + "}"} {
			if err := Check("password", marked); err != nil && strings.Contains(err.Error(), canary) {
				t.Fatalf("%q: %v", marked, err)
			}
		}
	})
}
