// Approvals of requests by operators.

package metrics

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of approvals, the values of the label result of ApprovalCount.
const (
	ApprovalAsked    = "asked"
	ApprovalApproved = "approved"
	ApprovalDenied   = "denied"
	ApprovalExpired  = "expired" // not approved in time, or not used in time
	ApprovalUsed     = "used"
)

// Waiting collects how many requests wait for an approval.
type Waiting struct {
	// Live returns their number by product. It is called at each scrape. Default: none wait.
	Live func() map[string]int

	products sync.Map // whose requests may wait
}

var waitingDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "approvals_waiting"),
	"Requests that wait for an approval by an operator, in the storage.", []string{"product"}, nil)

// Describe implements prometheus.Collector.
func (*Waiting) Describe(ch chan<- *prometheus.Desc) { ch <- waitingDesc }

// Collect implements prometheus.Collector.
func (w *Waiting) Collect(ch chan<- prometheus.Metric) {
	numbers := make(map[string]int)
	w.products.Range(func(product, _ any) bool {
		numbers[product.(string)] = 0
		return true
	})
	if w.Live != nil {
		maps.Copy(numbers, w.Live())
	}
	for product, n := range numbers {
		ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(n), product)
	}
}

// BeginApprovals initializes the series of a product to 0.
func (s *Set) BeginApprovals(product string) {
	s.Waiting.products.Store(product, nil)
	for _, result := range []string{ApprovalAsked, ApprovalApproved, ApprovalDenied, ApprovalExpired, ApprovalUsed} {
		s.Approvals.WithLabelValues(product, result)
	}
}
