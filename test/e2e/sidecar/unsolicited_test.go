// Servers that send what nobody has asked for.

package sidecar

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// TestWhatFollowsAnAnswerIsInNoLog holds that what a server sends behind an answer, such as a
// body behind the answer to HEAD, is not in Caddy's log, where net/http writes it.
func TestWhatFollowsAnAnswerIsInNoLog(t *testing.T) {
	t.Parallel()
	const password = "behind-the-answer-1"
	w := newWorld(t)
	s := w.add(vbr)
	s.Options = "transport http {\n\t\t\tversions 1.1\n\t\t}"
	w.leaks.keep(password)
	w.start()
	s.client.ok(t, s.protected)
	noted := 0
	for _, grace := range []string{"1s", "2s"} {
		for _, c := range []struct {
			method string
			status int
		}{{http.MethodHead, http.StatusOK}, {http.MethodGet, http.StatusNoContent}, {http.MethodGet, http.StatusNotModified}} {
			s.Server.SetFault(veeamtest.Fault{
				Kind: veeamtest.FaultUnsolicited, On: veeamtest.OnProtected, Count: 1, Status: c.status, Body: `{"password":"` + password + `"}`,
			})
			s.client.do(t, c.method, s.protected, nil).want(t, c.status)
			noted++
			harness.Eventually(t, "net/http has noticed it", func() bool {
				return strings.Count(w.Caddy.Output(), "bytes that are not shown") == noted
			})
		}
		// The next configuration gives the standard logger another output.
		if err := w.Change(context.Background(), func(config map[string]any) {
			config["apps"].(map[string]any)["http"].(map[string]any)["grace_period"] = grace
		}); err != nil {
			t.Fatal(err)
		}
	}
}
