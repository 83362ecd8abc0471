// The keys of clients, at each scrape.

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// KeyEnd is the end of a valid key. Due reports that somebody should replace it now.
type KeyEnd struct {
	Client, Key string
	End         time.Time
	Due         bool
}

// KeyEnds collects how long the keys of clients are valid.
type KeyEnds struct {
	// Live returns the valid keys that have an end, a bounded number. It is called at each
	// scrape. Default: there are none.
	Live func(now time.Time) []KeyEnd
}

var (
	keyEndDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "key_expiry_seconds"),
		"Seconds until the key of the client expires.", []string{"client", "key"}, nil)
	keysDueDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "keys_expiring"),
		"Keys of the client that expire within a week and were neither made for so short a time nor replaced.", []string{"client"}, nil)
)

// Describe implements prometheus.Collector.
func (*KeyEnds) Describe(ch chan<- *prometheus.Desc) {
	ch <- keyEndDesc
	ch <- keysDueDesc
}

// Collect implements prometheus.Collector.
func (k *KeyEnds) Collect(ch chan<- prometheus.Metric) {
	if k.Live == nil {
		return
	}
	now := time.Now()
	type label struct{ client, key string }
	first, due := make(map[label]time.Time), make(map[string]int)
	for _, end := range k.Live(now) {
		earliest(first, label{end.Client, end.Key}, end.End)
		n := due[end.Client]
		if end.Due {
			n++
		}
		due[end.Client] = n // 0 is a value, too
	}
	for client, n := range due {
		ch <- prometheus.MustNewConstMetric(keysDueDesc, prometheus.GaugeValue, float64(n), client)
	}
	for of, end := range first {
		ch <- prometheus.MustNewConstMetric(keyEndDesc, prometheus.GaugeValue, end.Sub(now).Seconds(), of.client, of.key)
	}
}
