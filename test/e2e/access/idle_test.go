// Requests whose bodies do not come: what they take of the memory.

package access

import (
	"flag"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

var idle = flag.Int("idle", 300, "how many requests without their bodies are open at once")

// gauge is the value of a metric without labels, or the sum over all labels.
func (w *world) gauge(t *testing.T, name string) (value float64) {
	t.Helper()
	text, err := w.Caddy.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, name); found && (rest[0] == ' ' || rest[0] == '{') {
			var v float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' '):], &v); err != nil {
				t.Fatal(err)
			}
			value += v
		}
	}
	return value
}

func TestRequestsWithoutTheirBodiesTakeLittleMemory(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(dir, &site{Name: "idle", Options: "log_body_limit 1MiB"})
	w.Global = "metrics"
	if err := w.serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.stop)
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	w.client(t, "idle").get("/api/v1/jobs")
	before := w.gauge(t, "go_memstats_heap_inuse_bytes")
	for i := range *idle {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port("idle")))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// One half are known by their address, the others are not.
		stranger := ""
		if i%2 == 1 {
			stranger = "X-Forwarded-For: 192.0.2.1\r\n"
		}
		fmt.Fprintf(conn, "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n%sContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{", stranger)
	}
	harness.Eventually(t, "the requests of those who are known wait for their bodies", func() bool {
		return int(w.gauge(t, "caddy_http_requests_in_flight")) >= *idle/2
	})
	grown := w.gauge(t, "go_memstats_heap_inuse_bytes") - before
	t.Logf("%d requests take %.1f MiB, %.0f KiB each", *idle, grown/(1<<20), grown/float64(*idle)/(1<<10))
	if most := float64(*idle * 128 << 10); grown > most {
		t.Errorf("the heap has grown by %.1f MiB", grown/(1<<20))
	}
}
