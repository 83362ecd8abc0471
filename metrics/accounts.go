// What is counted of each account. There may be very many accounts, so a series is a
// number in memory, and becomes a metric at a scrape only.

package metrics

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Count is a counter of an account. Its methods may be called from any goroutine.
type Count struct{ atomic.Uint64 }

// Inc adds 1.
func (c *Count) Inc() { c.Add(1) }

// Gauge is a value of an account. Its methods may be called from any goroutine.
type Gauge struct{ bits atomic.Uint64 }

// Set sets the value.
func (g *Gauge) Set(value float64) { g.bits.Store(math.Float64bits(value)) }

// The series of one account: their places in accountSeries.counts.
const (
	firstLookup  = 0
	firstLost    = firstLookup + 3
	firstSecret  = firstLost + 2
	countsOfOne  = firstSecret + 4
	clockIsShown = countsOfOne // a bit of accountSeries.shown
)

// accountSeries are the series of one account.
type accountSeries struct {
	shown  atomic.Uint32 // one bit for each of counts, and for clock
	counts [countsOfOne]Count
	clock  Gauge
}

func (s *accountSeries) show(bit int)       { s.shown.Or(1 << bit) }
func (s *accountSeries) shows(bit int) bool { return s.shown.Load()>>bit&1 == 1 }

type accountName struct{ product, account string }

// accounts are the series of all accounts.
type accounts struct {
	mu    sync.Mutex
	known map[accountName]*accountSeries
}

func newAccounts() *accounts { return &accounts{known: make(map[accountName]*accountSeries)} }

func (a *accounts) of(product, account string) *accountSeries {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := accountName{product, account}
	found := a.known[name]
	if found == nil {
		found = new(accountSeries)
		a.known[name] = found
	}
	return found
}

// each calls see without the lock, because a scrape may be slow.
func (a *accounts) each(see func(accountName, *accountSeries)) {
	a.mu.Lock()
	names, series := make([]accountName, 0, len(a.known)), make([]*accountSeries, 0, len(a.known))
	for name, s := range a.known {
		names, series = append(names, name), append(series, s)
	}
	a.mu.Unlock()
	for i, name := range names {
		see(name, series[i])
	}
}

// AccountCounter counts events of accounts, by product, account and a value of a closed
// list.
type AccountCounter struct {
	accounts *accounts
	desc     *prometheus.Desc
	first    int
	values   []string
}

// WithLabelValues returns the counter of an account. It panics if value is not in the
// closed list.
func (c *AccountCounter) WithLabelValues(product, account, value string) *Count {
	return c.of(c.accounts.of(product, account), value)
}

// of returns the counter among the series of an account.
func (c *AccountCounter) of(series *accountSeries, value string) *Count {
	i := slices.Index(c.values, value)
	if i < 0 {
		panic("metrics: unknown label value " + value)
	}
	series.show(c.first + i)
	return &series.counts[c.first+i]
}

// show has the counters of an account shown, with 0 before the first event.
func (c *AccountCounter) show(series *accountSeries) {
	for i := range c.values {
		series.show(c.first + i)
	}
}

// Describe implements prometheus.Collector.
func (c *AccountCounter) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *AccountCounter) Collect(ch chan<- prometheus.Metric) {
	c.accounts.each(func(name accountName, series *accountSeries) {
		for i, value := range c.values {
			if series.shows(c.first + i) {
				ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue,
					float64(series.counts[c.first+i].Load()), name.product, name.account, value)
			}
		}
	})
}

// AccountGauge is a value of each account, by product and account.
type AccountGauge struct {
	accounts *accounts
	desc     *prometheus.Desc
}

// WithLabelValues returns the value of an account.
func (g *AccountGauge) WithLabelValues(product, account string) *Gauge {
	series := g.accounts.of(product, account)
	series.show(clockIsShown)
	return &series.clock
}

// Describe implements prometheus.Collector.
func (g *AccountGauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

// Collect implements prometheus.Collector.
func (g *AccountGauge) Collect(ch chan<- prometheus.Metric) {
	g.accounts.each(func(name accountName, series *accountSeries) {
		if series.shows(clockIsShown) {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue,
				math.Float64frombits(series.clock.bits.Load()), name.product, name.account)
		}
	})
}

// Interface guards
var (
	_ prometheus.Collector = (*AccountCounter)(nil)
	_ prometheus.Collector = (*AccountGauge)(nil)
)
