// What open connections of clients cost.

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connectionsRounds   = 9
	connectionsParallel = 32 // requests at once, over all connections by turns
)

// measureConnections compares Caddys with many open connections of clients, with
// veeam_auth and without.
func measureConnections(ctx context.Context, r *report) error {
	g, err := startGrowth(1)
	defer g.stop()
	if err != nil {
		return err
	}
	for _, n := range []int{1_000, 10_000} {
		if err := g.connections(ctx, r, n); err != nil {
			return err
		}
	}
	return nil
}

// connections measures one Caddy after the other: a process may not have as many open files
// as both need.
func (g *growth) connections(ctx context.Context, r *report, n int) error {
	var medians []float64
	for accounts, name := range []string{"plain reverse_proxy", "veeam_auth"} {
		cpu, err := g.connected(ctx, r, n, name, accounts)
		if err != nil {
			return err
		}
		medians = append(medians, percentile(cpu, 50))
	}
	r.note(fmt.Sprintf("%d open connections: processor time of a request, plain and veeam_auth; ratio of the medians", n),
		fmt.Sprintf("%.0f and %.0f µs; %.2f", medians[0], medians[1], medians[1]/medians[0]))
	return nil
}

// connected measures a Caddy, and returns the processor time of a request in each round, in
// microseconds.
func (g *growth) connected(ctx context.Context, r *report, n int, name string, accounts int) (cpu []float64, err error) {
	s, err := g.begin("", func(port int) string { return g.site(local(port), accounts) })
	if err != nil {
		return nil, err
	}
	defer s.caddy.Stop()
	live, resident, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	clients, err := s.connect(ctx, n)
	if err != nil {
		return nil, err
	}
	defer clients.close()
	liveThen, residentThen, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	r.note(fmt.Sprintf("%d open connections, %s: memory of one, live and resident", n, name),
		fmt.Sprintf("%.0f and %.0f bytes", (liveThen-live)/float64(n), (residentThen-resident)*(1<<20)/float64(n)))
	for range connectionsRounds {
		took, err := clients.ask(ctx, n)
		if err != nil {
			return nil, err
		}
		cpu = append(cpu, took.Seconds()*1e6)
	}
	return cpu, nil
}

// memory is what is live and what is resident, in bytes and MiB, after a request.
func (s *grown) memory(ctx context.Context) (live, resident float64, err error) {
	if _, err := s.ask(ctx, 100, nil); err != nil {
		return 0, 0, err
	}
	if live, err = s.live(); err != nil {
		return 0, 0, err
	}
	resident, err = residentMiB(s.caddy.Pid())
	return live, resident, err
}

// connected are open connections to a Caddy.
type connected struct {
	to    *grown
	conns []*connection
}

// connection is one, with what is read of it.
type connection struct {
	net.Conn
	in *bufio.Reader
}

// connect opens connections, each with a request.
func (s *grown) connect(ctx context.Context, n int) (*connected, error) {
	c := &connected{to: s}
	var dialer net.Dialer
	for range n {
		conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, &connection{conn, bufio.NewReaderSize(conn, 2<<10)})
	}
	if _, err := c.ask(ctx, n); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *connected) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// ask sends requests over the connections by turns, and returns what one of them takes.
func (c *connected) ask(ctx context.Context, requests int) (time.Duration, error) {
	before, err := cpuTime(c.to.caddy.Pid())
	if err != nil {
		return 0, err
	}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for worker := range connectionsParallel {
		wg.Go(func() {
			for ctx.Err() == nil && failed.Load() == nil && next.Add(1) <= int64(requests) {
				conn := c.conns[worker]
				if worker += connectionsParallel; worker >= len(c.conns) {
					worker %= connectionsParallel
				}
				if err := conn.get(); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	after, err := cpuTime(c.to.caddy.Pid())
	return (after - before) / time.Duration(requests), err
}

func (c *connection) get() error {
	if _, err := io.WriteString(c, "GET "+shortPath+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
