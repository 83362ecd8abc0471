// Who is told what becomes of approvals.

package approval

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/metrics"
)

var results = map[Status]string{
	Waiting: metrics.ApprovalAsked, Approved: metrics.ApprovalApproved, Denied: metrics.ApprovalDenied,
	Expired: metrics.ApprovalExpired, Used: metrics.ApprovalUsed,
}

// Telling returns a function for New that counts what becomes of approvals, by product and
// result, and emits an event for each request that waits.
func Telling(count *prometheus.CounterVec, emit func(events.Event)) func(Status, State) {
	return func(status Status, s State) {
		count.WithLabelValues(s.Product, results[status]).Inc()
		if status == Waiting {
			emit(events.NeedsApproval(s.Product, s.Client, s.ID, s.Method, s.Template(), s.Expires, time.Now()))
		}
	}
}
