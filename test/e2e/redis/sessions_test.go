package redis

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// run runs a command of caddy and returns what it prints.
func (c *cluster) run(i int, args ...string) string {
	c.t.Helper()
	cmd, err := harness.Command(c.dir, nil, append(args, "--address", c.nodes[i].Caddy.Admin)...)
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Errorf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestOperatorsSeeAndEndSharedSessions(t *testing.T) {
	c := newCluster(t, 2, "storage file_system "+t.TempDir())
	c.must(0)
	c.must(1)
	for i, want := range []string{"shared", "loaded"} {
		out := c.run(i, "veeam-auth", "sessions")
		if !strings.Contains(out, want) && c.alone() == 0 || !strings.Contains(out, veeamtest.DefaultUser) || !strings.Contains(out, "valid") {
			t.Errorf("node %d: %s", i, out)
		}
		for _, token := range c.server.Issued() {
			if strings.Contains(out, token) {
				t.Error("a token is shown")
			}
		}
	}
	if out := c.run(1, "veeam-auth", "sessions", "logout", veeamtest.DefaultUser, "--json"); !strings.Contains(out, `"state": "none"`) {
		t.Error(out)
	}
	if n := c.server.Counters().LiveSessions; n != 0 {
		t.Errorf("%d sessions live on", n)
	}
	// The other process notices at its next request, and both have a new one.
	if got := c.crowd(5, 0, 1); got[http.StatusOK] != 10 {
		t.Errorf("statuses %v", got)
	}
	c.sharedLogins(2)
	c.run(0, "veeam-auth", "sessions", "forget", veeamtest.DefaultUser)
	c.run(0, "veeam-auth", "sessions", "login", veeamtest.DefaultUser)
	c.must(0)
	c.sharedLogins(3)
}
