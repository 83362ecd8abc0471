package redis

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// shutdownDelay is how long a node serves on after it has said that it is not ready.
const shutdownDelay = time.Second

// balancer sends requests in turn to the nodes that say that they are ready.
type balancer struct {
	*cluster
	mu            sync.Mutex
	next          int
	sent, skipped int
	failed        []string
}

// ready asks a node for its readiness. A node that does not answer is not ready.
func (b *balancer) ready(i int) bool {
	res, err := b.client.Get(b.nodes[i].Sites[0].URL() + "/veeam_auth/ready")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

// send sends one request.
func (b *balancer) send() {
	b.mu.Lock()
	i := b.next % len(b.nodes)
	b.next++
	b.mu.Unlock()
	began := time.Now()
	ready, status, err := b.ready(i), 0, error(nil)
	if ready {
		status, err = b.ask(context.Background(), i)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !ready:
		b.skipped++
	case status != http.StatusOK && time.Since(began) > shutdownDelay/2: // a stalled machine: what the probe said is old
		b.skipped++
	case status != http.StatusOK:
		b.failed = append(b.failed, http.StatusText(status)+" "+errorText(err))
	default:
		b.sent++
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A balancer that asks before it sends notices nothing of replicas that restart one after
// the other.
func TestRollingRestart_NoRequestGoesToAReplicaThatIsNotReady(t *testing.T) {
	const nodes = 3
	c := newClusterWith(t, nodes, "storage file_system "+t.TempDir(), "login_at start")
	b := &balancer{cluster: c}
	for _, n := range c.nodes {
		n.Global = "shutdown_delay " + shutdownDelay.String()
		n.Sites[0].Before = "veeam_auth_health /veeam_auth/*"
		if err := n.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range nodes {
		harness.Eventually(t, "a node is ready", func() bool { return b.ready(i) })
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for ; ; time.Sleep(2 * time.Millisecond) {
				select {
				case <-stop:
					return
				default:
					b.send()
				}
			}
		})
	}
	for i := range nodes {
		if !c.nodes[i].Caddy.Ends() {
			t.Errorf("node %d hangs", i)
		}
		c.start(i)
		harness.Eventually(t, "the node is ready again", func() bool { return b.ready(i) })
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests, %d times another node was asked, %d requests failed", b.sent, b.skipped, len(b.failed))
	for _, text := range b.failed {
		t.Error(text)
	}
	if b.sent == 0 || b.skipped == 0 {
		t.Error("nothing was tried")
	}
	c.sharedLogins(1)
}
