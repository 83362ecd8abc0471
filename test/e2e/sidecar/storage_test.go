// A storage that does not work: said at the start, and by every refusal that comes
// from it.

package sidecar

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

func TestAStorageThatDoesNotWorkIsSaidAtTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := filepath.Join(w.Dir, "storage")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	// A file where a folder should be stops root, too. Values could be written, locks cannot.
	if err := os.WriteFile(filepath.Join(broken, "locks"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Global = "storage file_system " + broken
	s := w.add(vbr)
	w.start()
	const said = "Caddy's storage does not work"
	harness.Eventually(t, "the start says so", func() bool { return strings.Contains(w.Caddy.Output(), said) })
	if out := w.Caddy.Output(); !strings.Contains(out, `"reason":"storage_unavailable"`) || !strings.Contains(out, broken) {
		t.Errorf("reason or folder are missing: %s", out)
	}
	s.client.ok(t, s.protected) // needs no token
	answer := s.client.get(t, s.protected, bearer("eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ.e30.c2ln"))
	answer.want(t, http.StatusServiceUnavailable)
	if !strings.Contains(string(answer.body), "(storage_unavailable)") {
		t.Errorf("the answer does not say why: %s", answer.body)
	}
	if n := w.scrape(t)[`refusals_total{product="vbr",reason="storage_unavailable"}`]; n < 1 {
		t.Errorf("%v refusals are counted", n)
	}
	if lines, err := os.ReadFile(w.SvcLogFile()); err != nil || !strings.Contains(string(lines), "Caddy's storage cannot be read or written") {
		t.Errorf("the log does not name the reason: %v %s", err, lines)
	}
}

// Read-only files, a folder of another user, no HOME: clients get tokens all the same,
// until the process ends.
func TestAStorageThatCannotBeWrittenIsSaidAtTheStartAndTokensWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	folder := filepath.Join(w.Dir, "storage")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	// A file where a folder should be stops root, too.
	if err := os.WriteFile(filepath.Join(folder, "veeam_auth"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Global = "storage file_system " + folder
	s := w.add(vbr)
	w.start()
	harness.Eventually(t, "the start says what to set", func() bool {
		out := w.Caddy.Output()
		return strings.Contains(out, "Caddy's storage cannot be written to") && strings.Contains(out, "XDG_DATA_HOME") && strings.Contains(out, folder)
	})
	tokens := s.client.login(t)
	for range 2 {
		s.client.ok(t, s.protected, bearer(tokens.Access))
		s.client.tokensOf(t, s.client.renew(t, tokens.Refresh))
		if err := w.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.client.do(t, http.MethodPost, "/api/oauth2/logout", nil, bearer(tokens.Access)).want(t, http.StatusOK)
	s.client.get(t, s.protected, bearer(tokens.Access)).want(t, http.StatusUnauthorized)
	if n := w.scrape(t)[`refusals_total{product="vbr",reason="storage_unavailable"}`]; n != 0 {
		t.Errorf("%v refusals because of the storage", n)
	}
}
