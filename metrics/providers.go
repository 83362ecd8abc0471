// The keys of identity providers, at each scrape.

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ProviderKeys collects how long the keys of identity providers count.
type ProviderKeys struct {
	// Live returns for each provider how long its keys count if they cannot be read again,
	// 0 without keys. It is called at each scrape. Default: there are none.
	Live func(now time.Time) map[string]time.Duration
}

var providerKeysDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "jwks_expiry_seconds"),
	"Seconds until the keys of the identity provider expire, unless they are read again.", []string{"provider"}, nil)

// Describe implements prometheus.Collector.
func (*ProviderKeys) Describe(ch chan<- *prometheus.Desc) { ch <- providerKeysDesc }

// Collect implements prometheus.Collector.
func (k *ProviderKeys) Collect(ch chan<- prometheus.Metric) {
	if k.Live == nil {
		return
	}
	for provider, left := range k.Live(time.Now()) {
		ch <- prometheus.MustNewConstMetric(providerKeysDesc, prometheus.GaugeValue, left.Seconds(), provider)
	}
}
