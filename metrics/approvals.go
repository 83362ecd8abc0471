// Approvals of requests by operators.

package metrics

import (
	"maps"
	"sync"
	"time"

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

// Waits are the requests for a product that wait for an approval.
type Waits struct {
	Number int
	First  time.Duration // until the first of them expires
}

// Waiting collects how many requests wait for an approval, and for how long.
type Waiting struct {
	// Live returns the requests that wait now, by product; products without any are
	// absent. It is called at each scrape. Default: none wait.
	Live func(now time.Time) map[string]Waits

	products sync.Map // whose requests may wait
}

var (
	waitingDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "approvals_waiting"),
		"Requests that wait for an approval by an operator, in the storage.", []string{"product"}, nil)
	approvalEndDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "approval_expiry_seconds"),
		"Seconds until the first request that waits for an approval expires.", []string{"product"}, nil)
)

// Describe implements prometheus.Collector.
func (*Waiting) Describe(ch chan<- *prometheus.Desc) {
	ch <- waitingDesc
	ch <- approvalEndDesc
}

// Collect implements prometheus.Collector.
func (w *Waiting) Collect(ch chan<- prometheus.Metric) {
	waits := make(map[string]Waits)
	w.products.Range(func(product, _ any) bool {
		waits[product.(string)] = Waits{}
		return true
	})
	if w.Live != nil {
		maps.Copy(waits, w.Live(time.Now()))
	}
	for product, of := range waits {
		ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(of.Number), product)
		if of.Number > 0 {
			ch <- prometheus.MustNewConstMetric(approvalEndDesc, prometheus.GaugeValue, of.First.Seconds(), product)
		}
	}
}

// BeginApprovals initializes the series of a product to 0.
func (s *Set) BeginApprovals(product string) {
	s.Waiting.products.Store(product, nil)
	for _, result := range []string{ApprovalAsked, ApprovalApproved, ApprovalDenied, ApprovalExpired, ApprovalUsed} {
		s.Approvals.WithLabelValues(product, result)
	}
}
