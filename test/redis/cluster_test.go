// Several Caddys with one cache in front of one emulated server.

package redis

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// cluster is a server and the Caddys in front of it.
type cluster struct {
	t      *testing.T
	server *veeamtest.Server
	dir    string
	block  string // of the storage
	more   string // options of the site
	client *http.Client

	mu    sync.Mutex
	nodes []*node
}

// node is one Caddy.
type node struct {
	*harness.Caddy
	port int
}

// newCluster starts a server and n Caddys.
func newCluster(t *testing.T, n int, block string, options ...veeamtest.Option) *cluster {
	t.Helper()
	return newClusterWith(t, n, block, "", options...)
}

// newClusterWith is newCluster for Caddys with more options.
func newClusterWith(t *testing.T, n int, block, more string, options ...veeamtest.Option) *cluster {
	t.Helper()
	c := &cluster{t: t, server: veeamtest.New(veeamtest.VBR13, options...), dir: t.TempDir(), block: block, more: more}
	if err := c.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.server.Close)
	c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2000}, Timeout: patience}
	t.Cleanup(c.client.CloseIdleConnections)
	keyset, err := tokencache.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyset.Text()
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.file("key"), text)
	write(t, c.file("password"), veeamtest.DefaultPassword)
	c.nodes = make([]*node, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { c.start(i) })
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if n == nil {
				continue
			}
			_ = syscall.Kill(n.Pid(), syscall.SIGCONT)
			n.Kill()
			if t.Failed() && testing.Verbose() {
				t.Logf("caddy:\n%s", complaints(n.Output()))
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return c
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

// start starts a node, also one that was there before. It speaks HTTP/1.1 to the
// server, because Go's server gives up an HTTP/2 connection whose first frames take
// over two seconds, which happens where all processes share two busy cores.
func (c *cluster) start(i int) {
	dir := filepath.Join(c.dir, fmt.Sprint("node", i))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Error(err)
		return
	}
	for try := 0; ; try++ {
		ports, err := harness.FreePorts(1)
		if err != nil {
			c.t.Error(err)
			return
		}
		caddyfile := filepath.Join(dir, "Caddyfile")
		write(c.t, caddyfile, fmt.Sprintf(`{
	admin {$CADDY_ADMIN}
	skip_install_trust
}
http://:%d {
	bind 127.0.0.1
	veeam_auth %s {
		account %s {file.%s}
		tls_pin %s
		%s
		transport http {
			dial_timeout 30s
			versions 1.1
			max_conns_per_host 50
		}
		cache {
			encryption_key {file.%s}
			%s
		}
	}
}
`, ports[0], c.server.URL(), veeamtest.DefaultUser, c.file("password"), harness.Pin(c.server), c.more, c.file("key"), c.block))
		caddy, err := harness.StartCaddy(dir, caddyfile, nil)
		if err == nil {
			c.mu.Lock()
			c.nodes[i] = &node{Caddy: caddy, port: ports[0]}
			c.mu.Unlock()
			return
		}
		if try == 3 || !strings.Contains(err.Error(), "address already in use") {
			c.t.Error(err)
			return
		}
	}
}

func (c *cluster) node(i int) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i]
}

// kill ends a node as the kernel does when it is out of memory.
func (c *cluster) kill(i int) { c.node(i).Kill() }

// get asks a node for something that needs a token, and returns the status, 0 if
// there was no answer.
func (c *cluster) get(i int) int {
	status, _ := c.ask(context.Background(), i)
	return status
}

func (c *cluster) ask(ctx context.Context, i int) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/api/v1/serverInfo", c.node(i).port), nil)
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

// traffic asks the nodes in turn until it is stopped, and returns what was not
// answered with 200.
func (c *cluster) traffic(clients int, pause time.Duration, choose func() int) (stop func() (total int, failed map[string]int)) {
	ctx, cancel := context.WithCancel(context.Background())
	failed, total := map[string]int{}, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(pause) {
				i := choose()
				status, err := c.ask(context.Background(), i)
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

func (c *cluster) said(i int, text string) int { return strings.Count(c.node(i).Output(), text) }

// patience is what only a hang exceeds.
const patience = 2 * time.Minute

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !so() {
		if time.Since(began) > patience {
			t.Errorf("not within %v: %s", patience, what)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}
