// Rates of what is sent, by second, minute and hour.

package ratelimit

import (
	"fmt"
	"strings"
)

// Rates are the most requests that are sent in any second, minute and hour. Zero is no
// limit. A Rate is something else: it says how fast events come back that were free at
// once.
type Rates struct{ PerSecond, PerMinute, PerHour int }

// String is the rates as they are written in the configuration.
func (r Rates) String() string {
	var parts []string
	for _, limit := range []struct {
		most int
		unit string
	}{{r.PerSecond, "s"}, {r.PerMinute, "m"}, {r.PerHour, "h"}} {
		if limit.most > 0 {
			parts = append(parts, fmt.Sprintf("%d/%s", limit.most, limit.unit))
		}
	}
	if parts == nil {
		return "off"
	}
	return strings.Join(parts, " ")
}

// Half is half of each rate, at least one.
func (r Rates) Half() Rates {
	half := func(n int) int {
		if n == 0 {
			return 0
		}
		return max(n/2, 1)
	}
	return Rates{PerSecond: half(r.PerSecond), PerMinute: half(r.PerMinute), PerHour: half(r.PerHour)}
}

// Step says where in a login a request stands that is sent at such rates.
type Step int

// The steps.
const (
	// StepOnly: nothing is known to follow.
	StepOnly Step = iota

	// StepFirst: another request follows at once.
	StepFirst

	// StepNext: a first one went before. It waits longer than others, because without
	// it the first was in vain.
	StepNext
)
