// Several Caddys with one cache in front of one emulated server.

package redis

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// cluster is a server and the Caddys in front of it.
type cluster struct {
	t      *testing.T
	server *veeamtest.Server
	dir    string
	client *http.Client
	nodes  []*harness.World
	ended  []*harness.Caddy // of nodes that were started again
}

// newCluster starts a server and n Caddys.
func newCluster(t *testing.T, n int, block string, options ...veeamtest.Option) *cluster {
	t.Helper()
	return newClusterWith(t, n, block, "", options...)
}

// newClusterWith is newCluster for Caddys with more options.
func newClusterWith(t *testing.T, n int, block, more string, options ...veeamtest.Option) *cluster {
	t.Helper()
	return newClusterOf(t, n, func(c *cluster) *harness.World { return c.newNode(block, more) }, options...)
}

// newClusterOf is newCluster for Caddys that node makes.
func newClusterOf(t *testing.T, n int, node func(*cluster) *harness.World, options ...veeamtest.Option) *cluster {
	t.Helper()
	c := &cluster{t: t, server: harness.StartServer(t, veeamtest.VBR13, options...), dir: t.TempDir()}
	c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2000}, Timeout: harness.Patience}
	t.Cleanup(c.client.CloseIdleConnections)
	write(t, c.file("key"), harness.Keyset(t))
	write(t, c.file("password"), veeamtest.DefaultPassword)
	for range n {
		c.nodes = append(c.nodes, node(c))
	}
	// The first one makes Caddy's own CA where they share Caddy's storage: of several that make
	// it at the same time, one may find half of it and end.
	c.start(0)
	var wg sync.WaitGroup
	for i := range n - 1 {
		wg.Go(func() { c.start(i + 1) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return c
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

// newNode is a Caddy with a storage. It speaks HTTP/1.1 to the server, because Go's
// server gives up an HTTP/2 connection whose first frames take over two seconds, which
// happens where all processes share two busy cores.
func (c *cluster) newNode(block, more string) *harness.World {
	w := harness.New(c.t)
	w.Sites = []*harness.Site{{
		Server: c.server, Account: fmt.Sprintf("account %s {file.%s}", veeamtest.DefaultUser, c.file("password")),
		Options: fmt.Sprintf(`%s
		transport http {
			dial_timeout 30s
			versions 1.1
			max_conns_per_host 50
		}
		cache {
			encryption_key {file.%s}
			%s
		}`, more, c.file("key"), block),
	}}
	c.t.Cleanup(func() {
		if w.Caddy == nil {
			return
		}
		_ = syscall.Kill(w.Caddy.Pid(), syscall.SIGCONT)
		w.Kill()
		if c.t.Failed() && testing.Verbose() {
			c.t.Logf("caddy:\n%s", complaints(w.Caddy.Output()))
		}
	})
	return w
}

// start starts a node, also one that was there before.
func (c *cluster) start(i int) {
	if before := c.nodes[i].Caddy; before != nil {
		c.ended = append(c.ended, before)
	}
	if err := c.nodes[i].Start(); err != nil {
		c.t.Error(err)
	}
}

// kill ends a node as the kernel does when it is out of memory.
func (c *cluster) kill(i int) { c.nodes[i].Kill() }

// get asks a node for something that needs a token, and returns the status, 0 if
// there was no answer.
func (c *cluster) get(i int) int {
	status, _ := c.ask(context.Background(), i)
	return status
}

func (c *cluster) ask(ctx context.Context, i int) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.nodes[i].Sites[0].URL()+"/api/v1/serverInfo", nil)
	if err != nil {
		return 0, err
	}
	res, err := c.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// must asks a node and wants a good answer.
func (c *cluster) must(i int) {
	c.t.Helper()
	if status, err := c.ask(context.Background(), i); status != http.StatusOK {
		c.t.Errorf("node %d: status %d, %v", i, status, err)
	}
}

// crowd has many callers ask each of the nodes at once, and counts the answers.
func (c *cluster) crowd(each int, nodes ...int) map[int]int {
	statuses := map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, i := range nodes {
		for range each {
			wg.Go(func() {
				status := c.get(i)
				mu.Lock()
				defer mu.Unlock()
				statuses[status]++
			})
		}
	}
	wg.Wait()
	return statuses
}

// traffic asks the nodes that are chosen until it is stopped, and returns what was not
// answered with 200. answered is called when the node has answered.
func (c *cluster) traffic(clients int, pause time.Duration, choose func() (node int, answered func())) (stop func() (total int, failed map[string]int)) {
	ctx, cancel := context.WithCancel(context.Background())
	failed, total := map[string]int{}, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(pause) {
				i, answered := choose()
				status, err := c.ask(context.Background(), i)
				answered()
				mu.Lock()
				total++
				if status != http.StatusOK {
					failed[fmt.Sprint("node ", i, " status ", status, " ", err)]++
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, map[string]int) {
		cancel()
		wg.Wait()
		return total, failed
	}
}

// logins fails the test if the server has seen another number of token requests.
func (c *cluster) logins(want int64) {
	c.t.Helper()
	if got := c.server.Counters().TokenRequests; got != want {
		c.t.Errorf("%d token requests, want %d", got, want)
	}
}

// alone counts how often a node has said that the storage does not work. On a machine that
// is so busy that a storage in order takes over a second, a node keeps its sessions for
// itself, as is documented, and may log in once more. Exact counts are shown on a fake
// clock, in tokencache.
func (c *cluster) alone() (times int64) {
	for i := range c.nodes {
		times += int64(c.said(i, saysGone))
	}
	for _, ended := range c.ended {
		times += int64(ended.Alone())
	}
	return times
}

// sharedLogins is logins for a storage that works all the time.
func (c *cluster) sharedLogins(want int64) {
	c.t.Helper()
	if got, alone := c.server.Counters().TokenRequests, c.alone(); got < want || got > want+alone {
		c.t.Errorf("%d token requests, want %d; the storage was too slow %d times", got, want, alone)
	}
}

// complaints are the lines of a log that are not of level info, of which there are
// thousands.
func complaints(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"level":"info"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (c *cluster) said(i int, text string) int { return strings.Count(c.nodes[i].Caddy.Output(), text) }
