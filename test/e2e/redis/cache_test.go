package redis

import (
	"flag"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// The figures of docs/figures.md are those of larger runs.
var (
	callers    = flag.Int("callers", 200, "cold callers of each process")
	trafficFor = flag.Duration("traffic", 5*time.Second, "how long there is traffic after a revocation")
)

func TestThreeProcessesWithColdCallersLogInOnce(t *testing.T) {
	onEachStorage(t, func(t *testing.T, block string) {
		c := newCluster(t, 3, block, veeamtest.WithLatency(200*time.Millisecond))
		if got := c.crowd(*callers, 0, 1, 2); got[http.StatusOK] != 3**callers {
			t.Errorf("statuses %v", got)
		}
		c.sharedLogins(1)
	})
}

func TestARevocationOfAllTokensCostsOneLogin(t *testing.T) {
	onEachStorage(t, func(t *testing.T, block string) {
		c := newCluster(t, 3, block)
		c.crowd(1, 0, 1, 2)
		c.server.RevokeAll()
		var turn atomic.Int64
		stop := c.traffic(12, 5*time.Millisecond, func() (int, func()) { return int(turn.Add(1) % 3), func() {} })
		time.Sleep(*trafficFor)
		total, failed := stop()
		if len(failed) > 0 {
			t.Errorf("failed %v", failed)
		}
		t.Logf("%d requests", total)
		c.sharedLogins(2)
	})
}

func TestARollingRestartCostsNoLoginAndNoRequest(t *testing.T) {
	onEachStorage(t, func(t *testing.T, block string) {
		c := newCluster(t, 3, block)
		c.crowd(1, 0, 1, 2)
		var turn, away atomic.Int64
		var asked [3]atomic.Int64 // requests under way
		away.Store(-1)
		stop := c.traffic(12, 20*time.Millisecond, func() (int, func()) {
			for {
				i := turn.Add(1) % 3
				asked[i].Add(1)
				answered := func() { asked[i].Add(-1) }
				if i != away.Load() {
					return int(i), answered
				}
				answered()
			}
		})
		for i := range 3 {
			away.Store(int64(i)) // a load balancer takes it out first
			harness.Eventually(t, "the node is idle", func() bool { return asked[i].Load() == 0 })
			c.nodes[i].Stop()
			c.start(i)
		}
		away.Store(-1)
		time.Sleep(time.Second)
		total, failed := stop()
		if len(failed) > 0 || total < 100 {
			t.Errorf("failed %v", failed)
		}
		t.Logf("%d requests", total)
		c.sharedLogins(1)
		if n := c.server.Counters().Logouts; n > c.alone() {
			t.Errorf("%d logouts", n)
		}
	})
}

func TestAWrongPasswordIsSentOnceByAllAndARightOneAtOnce(t *testing.T) {
	onEachStorage(t, func(t *testing.T, block string) {
		c := newCluster(t, 3, block, veeamtest.WithLatency(50*time.Millisecond))
		write(t, c.file("password"), "wrong")
		if got := c.crowd(50, 0, 1, 2); got[http.StatusServiceUnavailable] != 150 {
			t.Errorf("statuses %v", got)
		}
		c.kill(0)
		c.start(0)
		if got := c.crowd(50, 0, 1, 2); got[http.StatusServiceUnavailable] != 150 {
			t.Errorf("statuses %v", got)
		}
		c.sharedLogins(1)
		write(t, c.file("password"), veeamtest.DefaultPassword)
		for i := range 3 {
			harness.Eventually(t, "the right password is used", func() bool { return c.get(i) == http.StatusOK })
		}
		c.sharedLogins(2)
	})
}

func TestAProcessKilledDuringALoginCostsOneMore(t *testing.T) {
	onEachStorage(t, func(t *testing.T, block string) {
		c := newCluster(t, 2, block)
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, After: true, Count: 1})
		go c.get(0)
		harness.Eventually(t, "a login has begun", func() bool { return c.server.Counters().TokenRequests == 1 })
		c.kill(0)
		began := time.Now()
		c.must(1)
		t.Logf("taken over after %v", time.Since(began).Round(time.Millisecond))
		c.start(0)
		c.must(0)
		c.sharedLogins(2)
	})
}

func TestAStoppedProcessIsReplacedAndCannotOverwriteWhatIsNewer(t *testing.T) {
	onEachStorage(t, func(t *testing.T, block string) {
		c := newCluster(t, 3, block)
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHold, Count: 1})
		answered := make(chan int, 1)
		go func() { answered <- c.get(0) }()
		harness.Eventually(t, "a login has begun", func() bool { return c.server.Counters().TokenRequests == 1 })
		if err := syscall.Kill(c.nodes[0].Caddy.Pid(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.must(1)
		t.Logf("taken over after %v", time.Since(began).Round(time.Millisecond))
		if err := syscall.Kill(c.nodes[0].Caddy.Pid(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		c.server.ClearFault()
		if status := <-answered; status != http.StatusOK {
			t.Errorf("the stopped process: status %d", status)
		}
		c.must(2)
		c.sharedLogins(2)
		harness.Eventually(t, "the session that came too late is logged out", func() bool {
			return c.server.Counters().Logouts == 1
		})
		c.crowd(5, 0, 1, 2)
		c.sharedLogins(2)
		if n := c.server.Counters().LiveSessions; n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}
