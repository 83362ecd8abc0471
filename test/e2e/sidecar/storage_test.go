// A storage that does not work: said at the start, and by every refusal that comes
// from it.

package sidecar

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAStorageThatDoesNotWorkIsSaidAtTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := filepath.Join(w.Dir, "storage")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	// A file where a folder should be stops root, too.
	if err := os.WriteFile(filepath.Join(broken, "veeam_auth"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Global = "storage file_system " + broken
	s := w.add(vbr)
	w.start()
	const said = "Caddy's storage does not work"
	for end := time.Now().Add(time.Minute); !strings.Contains(w.Caddy.Output(), said); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is said at the start")
		}
	}
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
