// Statistics: percentiles, and a median with its bounds.

package main

import (
	"fmt"
	"slices"
	"time"
)

// percentile returns the smallest value that at least p percent of the values do
// not exceed; zero if there are none.
func percentile[T ~int64 | ~float64](values []T, p float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(p / 100 * float64(len(sorted)))
	if float64(rank) < p/100*float64(len(sorted)) {
		rank++
	}
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread shows median and maximum.
func spread(took []time.Duration) string {
	const unit = time.Millisecond
	return fmt.Sprintf("%v and %v", percentile(took, 50).Round(unit), percentile(took, 100).Round(unit))
}

// estimate is the median of some values, with the bounds between which the
// median of all possible values lies in at least 95 of 100 cases. With fewer than
// six values the bounds are the extremes, and promise less.
type estimate struct{ low, median, high float64 }

func estimateOf(values []float64) estimate {
	n := len(values)
	if n == 0 {
		return estimate{}
	}
	sorted := slices.Sorted(slices.Values(values))
	e := estimate{median: (sorted[(n-1)/2] + sorted[n/2]) / 2}
	// The number of values below the true median is binomially distributed.
	outside, term := 0.0, 1.0
	for range n {
		term /= 2
	}
	k := 0
	for ; k < n/2; k++ {
		if outside += 2 * term; outside > 0.05 {
			break
		}
		term *= float64(n-k) / float64(k+1)
	}
	k = max(k-1, 0)
	e.low, e.high = sorted[k], sorted[n-1-k]
	return e
}

func (e estimate) String() string {
	return fmt.Sprintf("%.2f [%.2f … %.2f]", e.median, e.low, e.high)
}
