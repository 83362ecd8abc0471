package redis

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// Without a cache each process has a session of its own, and they record them in one storage.
// What a killed process has left behind is logged out once, and no session that another one
// uses, also of one that is stopped for a while.
func TestAStartEndsTheSessionsOfTheDeadAndNoneOfTheLiving(t *testing.T) {
	const kills = 3
	onEachStorage(t, func(t *testing.T, storage string) {
		c := newClusterOf(t, 3, func(c *cluster) *harness.World {
			w := c.newNode(storage, "")
			w.Global = storage
			w.Sites[0].Options = "lockout_budget 100 15m\n\t\tpace off"
			return w
		}, veeamtest.WithParallelSessions(), veeamtest.WithTokenLimits(0, 0, 0))
		c.crowd(1, 0, 1, 2)
		turn := 0
		stop := c.traffic(1, 20*time.Millisecond, func() (int, func()) {
			turn++
			return turn % 2, func() {}
		})
		signal := func(s syscall.Signal) {
			if err := syscall.Kill(c.nodes[1].Caddy.Pid(), s); err != nil {
				t.Error(err)
			}
		}
		for kill := range kills {
			c.kill(2)
			if kill == 1 {
				signal(syscall.SIGSTOP)
			}
			c.start(2)
			harness.Eventually(t, "what was left behind is logged out", func() bool {
				return c.server.Counters().Logouts == int64(kill)+1
			})
			if kill == 1 {
				signal(syscall.SIGCONT)
			}
			c.must(2)
			if got := c.server.Counters(); got.LiveSessions != 3 || got.Logins != int64(kill)+4 {
				t.Errorf("kill %d: %d sessions live, %d logins", kill, got.LiveSessions, got.Logins)
			}
			// Each process looks now and then, so one that lives may be faster than the start. If two
			// look at the same moment, the server refuses the second logout, and both tell.
			const logout = "logged out a session that a process has left behind"
			harness.Eventually(t, fmt.Sprintf("kill %d: a log tells of the logout", kill), func() bool {
				told := 0
				for _, process := range append([]*harness.Caddy{c.nodes[0].Caddy, c.nodes[1].Caddy, c.nodes[2].Caddy}, c.ended...) {
					told += strings.Count(process.Output(), logout)
				}
				return told >= kill+1
			})
			for i, node := range c.nodes {
				harness.Eventually(t, fmt.Sprintf("kill %d: the metric of node %d counts what its log tells", kill, i), func() bool {
					n, err := node.Caddy.Metric("left_sessions_total", `result="logged_out"`)
					return err == nil && int(n) == c.said(i, logout)
				})
			}
		}
		if total, failed := stop(); total == 0 || len(failed) > 0 {
			t.Errorf("of %d requests to the others failed %v", total, failed)
		}
		for i := range c.nodes {
			if c.get(i) != http.StatusOK {
				t.Error(fmt.Sprint("node ", i, " fails"))
			}
		}
		got := c.server.Counters()
		if got.Unauthorized != 0 || got.LiveSessions != 3 || got.Logins != kills+3 || got.Logouts != kills {
			t.Errorf("%d requests had a token that was refused; %d sessions, %d logins, %d logouts", got.Unauthorized, got.LiveSessions, got.Logins, got.Logouts)
		}
	})
}
