// Keys of clients at three processes with one storage: issued, used, rotated and revoked
// by command.

package access

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

func TestKeysCountAtEveryProcessUntilTheyAreRevoked(t *testing.T) {
	t.Parallel()
	storage := t.TempDir()
	var worlds [3]*world
	for i := range worlds {
		w := newWorld(t.TempDir(), &site{Name: "site", Options: "client ci {\n\t\t\tpreset monitor\n\t\t\ttoken_lifetime 90s\n\t\t}\n\t\tallow *\n\t\trequire_authentication"})
		w.Global, w.servers = "storage file_system "+storage, here(t).servers
		if err := w.writeSecrets(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop) // the servers are everybody's
		if err := w.start(); err != nil {
			t.Fatal(err)
		}
		worlds[i] = w
	}
	run := func(w *world, args ...string) string {
		cmd, err := harness.Command(w.Dir, nil, append(append([]string{"veeam-auth", "keys"}, args...), "--address", w.Caddy.Admin)...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	asks := func(w *world, key string) int {
		c := w.client(t, "site")
		return c.get("/api/v1/jobs", header("X-API-Key", key)).status
	}
	first := run(worlds[0], "issue", "ci", "--for", "1h")
	second := run(worlds[0], "issue", "ci", "--for", "1h")
	for i, w := range worlds {
		harness.Eventually(t, "the keys are known", func() bool { return asks(w, first) == http.StatusOK && asks(w, second) == http.StatusOK })
		c := w.client(t, "site")
		c.do(http.MethodPost, "/api/v1/jobs", "{}", header("X-API-Key", first)).refused("vbr", http.StatusForbidden)
		// As a password it gives tokens with the lifetime of the client.
		answer := c.form("grant_type", "password", "username", "ci", "password", first).want(http.StatusOK)
		var token struct {
			Lifetime int `json:"expires_in"`
		}
		if answer.into(&token); token.Lifetime < 80 || token.Lifetime > 90 {
			t.Errorf("process %d: tokens live for %d s", i, token.Lifetime)
		}
	}
	name := ""
	for line := range strings.Lines(run(worlds[1], "list")) {
		if fields := strings.Fields(line); name == "" && len(fields) > 1 && strings.HasPrefix(fields[0], "ci-") {
			name = fields[0]
		}
	}
	if name == "" {
		t.Fatal("the list has no key")
	}
	run(worlds[1], "revoke", name)
	revoked := time.Now()
	for i, w := range worlds {
		harness.Eventually(t, "one key is revoked", func() bool { return (asks(w, first) == http.StatusOK) != (asks(w, second) == http.StatusOK) })
		t.Logf("stops at process %d after %v", i, time.Since(revoked).Round(time.Millisecond))
	}
}
