// What the defaults cost in memory: many idle connections, and a calm garbage collector.

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/caddy-veeam/veeam-auth/internal/process"
)

const (
	defaultsIdle     = 1024 // connections to the server
	defaultsRounds   = 9
	defaultsRequests = 4_000
)

// allAtOnce is the query of requests that are answered together.
const allAtOnce = "together"

// gathering is a meeting of requests.
type gathering struct {
	mu     sync.Mutex
	wanted int
	come   int
	full   chan struct{}
}

// expect begins a meeting of n requests.
func (g *gathering) expect(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wanted, g.come, g.full = n, 0, make(chan struct{})
}

// wait returns when all have come.
func (g *gathering) wait(ctx context.Context) {
	g.mu.Lock()
	full := g.full
	if g.come++; g.come == g.wanted {
		close(full)
	}
	g.mu.Unlock()
	select {
	case <-full:
	case <-ctx.Done():
	}
}

// measureDefaults measures the memory of idle connections, and of the calm garbage
// collector what it takes and spares.
func measureDefaults(ctx context.Context, r *report) error {
	g, err := startGrowth(1)
	defer g.stop()
	if err != nil {
		return err
	}
	for accounts, name := range []string{"plain reverse_proxy", "veeam_auth"} {
		s, err := g.begin("", func(port int) string { return g.site(local(port), accounts) })
		if err != nil {
			return err
		}
		defer s.caddy.Stop()
		live, resident, err := s.memory(ctx)
		if err != nil {
			return err
		}
		if err := g.openIdle(ctx, s); err != nil {
			return err
		}
		liveThen, residentThen, err := s.memory(ctx)
		if err != nil {
			return err
		}
		r.note(fmt.Sprintf("%d idle connections to the server, %s: memory of one, live and resident", defaultsIdle, name),
			fmt.Sprintf("%.0f and %.0f bytes", (liveThen-live)/defaultsIdle, (residentThen-resident)*(1<<20)/defaultsIdle))
	}
	return g.collectors(ctx, r)
}

// openIdle has a Caddy open many connections to the server at once.
func (g *growth) openIdle(ctx context.Context, s *grown) error {
	g.together.expect(defaultsIdle)
	client := newClient(defaultsIdle)
	defer client.CloseIdleConnections()
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range defaultsIdle {
		wg.Go(func() {
			status, err := send(ctx, client, "GET", s.url+"?"+allAtOnce, nil)
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// collectors compares garbage collectors under load.
func (g *growth) collectors(ctx context.Context, r *report) error {
	percents := [...]int{100, process.CalmPercent}
	var subjects [len(percents)]*grown
	var cpu [len(percents)][]float64
	var resident [len(percents)]float64
	for i, percent := range percents {
		s, err := g.begin("", func(port int) string { return g.site(local(port), 1) }, "GOGC="+strconv.Itoa(percent))
		if err != nil {
			return err
		}
		defer s.caddy.Stop()
		subjects[i] = s
	}
	var ratios []float64
	for range defaultsRounds {
		for i, s := range subjects {
			took, err := s.ask(ctx, defaultsRequests, nil)
			if err != nil {
				return err
			}
			cpu[i] = append(cpu[i], float64(took)/1e3)
			now, err := residentMiB(s.caddy.Pid())
			if err != nil {
				return err
			}
			resident[i] = max(resident[i], now)
		}
		ratios = append(ratios, cpu[1][len(cpu[1])-1]/cpu[0][len(cpu[0])-1])
	}
	r.note(fmt.Sprintf("GOGC=%d and %d under load: processor time of a request; ratio; most resident memory", percents[0], percents[1]),
		fmt.Sprintf("%.0f and %.0f µs; %s; %.0f and %.0f MiB", percentile(cpu[0], 50), percentile(cpu[1], 50), estimateOf(ratios), resident[0], resident[1]))
	return nil
}
