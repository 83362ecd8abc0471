// What the sidecar costs on top of a plain reverse_proxy, end to end.

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	overheadRounds   = 12
	overheadParallel = 4 // connections to each of two
	overheadSlice    = 600 * time.Millisecond
	overheadTurns    = 1500
)

// Bars of the overhead. A figure fails only if all of its interval lies above.
const (
	maxCPU        = 1.10 // of the plain reverse_proxy
	maxLogCPU     = 1.00 // of the same with Caddy's access log
	maxAddedP50   = 50 * time.Microsecond
	maxAddedP99   = time.Millisecond
	latencyRounds = 5
)

// measureOverhead compares Caddys of different configurations with one that is
// nothing but a reverse_proxy. Each comparison is between two that run at the
// same time, so that a disturbance hits both; the comparisons take turns. The
// first one is of the plain configuration with itself and shows how much of the
// others is noise.
func measureOverhead(ctx context.Context, r *report) error {
	b, err := startBench(ctx)
	if err != nil {
		return err
	}
	defer b.stop()

	cpu := make(map[string][]float64)
	p50, p99 := make(map[string][]float64), make(map[string][]float64)
	for round := range overheadRounds {
		for i := range b.subjects {
			v := b.subjects[(round+i)%len(b.subjects)]
			one, other, err := b.race(ctx, v)
			if err != nil {
				return err
			}
			cpu[v.name] = append(cpu[v.name], other.cpu/one.cpu)
			p50[v.name] = append(p50[v.name], other.p50/one.p50)
			p99[v.name] = append(p99[v.name], other.p99/one.p99)
		}
	}
	r.note("plain reverse_proxy, processor time of a request", fmt.Sprintf("%.0f µs", percentile(b.plainCPU, 50)*1e6))
	for _, v := range b.subjects {
		e := estimateOf(cpu[v.name])
		figure := v.name + ", processor time of a request"
		switch {
		case v.barred:
			r.check(e.low <= maxCPU, figure, e.String(), fmt.Sprintf("at most %.2f", maxCPU))
		case v.against != nil:
			r.check(e.low <= maxLogCPU, figure, e.String(), fmt.Sprintf("at most %.2f", maxLogCPU))
		default:
			r.note(figure, e.String())
		}
		r.note(v.name+", p50 and p99 under load", fmt.Sprint(estimateOf(p50[v.name]), " and ", estimateOf(p99[v.name])))
	}
	return b.latencies(ctx, r)
}

// latencies asks the plain Caddy and another by turns, one request at a time.
func (b *bench) latencies(ctx context.Context, r *report) error {
	for _, v := range b.subjects {
		var medians, tails []float64
		for range latencyRounds {
			plain, other, err := b.turns(ctx, v, overheadTurns/latencyRounds)
			if err != nil {
				return err
			}
			medians = append(medians, micros(percentile(other, 50)-percentile(plain, 50)))
			tails = append(tails, micros(percentile(other, 99)-percentile(plain, 99)))
		}
		added, tail := estimateOf(medians), estimateOf(tails)
		value := fmt.Sprintf("%.0f µs [%.0f … %.0f] and %.0f µs [%.0f … %.0f]",
			added.median, added.low, added.high, tail.median, tail.low, tail.high)
		figure := v.name + ", added to p50 and p99 of single requests"
		if !v.barred {
			r.note(figure, value)
			continue
		}
		r.check(added.low <= micros(maxAddedP50) && tail.low <= micros(maxAddedP99), figure, value,
			fmt.Sprintf("at most %v and %v", maxAddedP50, maxAddedP99))
	}
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// turns sends n requests to a Caddy and to the one it is compared with, one to the
// one, one to the other.
func (b *bench) turns(ctx context.Context, v *subject, n int) (plain, other []time.Duration, err error) {
	client := newClient(1)
	defer client.CloseIdleConnections()
	ask := func(s *subject) (time.Duration, error) {
		begun := time.Now()
		status, err := send(ctx, client, http.MethodGet, s.url, s.header)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: status %d", s.name, status)
		}
		return time.Since(begun), err
	}
	for i := range n {
		pair := []*subject{b.reference(v), v}
		took := map[*subject]time.Duration{}
		if i%2 == 1 {
			slices.Reverse(pair)
		}
		for _, s := range pair {
			if took[s], err = ask(s); err != nil {
				return nil, nil, err
			}
		}
		plain, other = append(plain, took[b.reference(v)]), append(other, took[v])
	}
	return plain, other, nil
}
