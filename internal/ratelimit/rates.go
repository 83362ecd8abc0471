// Rates of what is sent, by second, minute and hour.

package ratelimit

import (
	"fmt"
	"strings"
)

// Rates are the maximum numbers of requests in any second, minute and hour. Zero is no
// limit. Unlike a Rate they have no burst that is restored over time.
type Rates struct{ PerSecond, PerMinute, PerHour int }

// String returns the rates in the syntax of the configuration.
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

// Half returns half of each rate, at least one.
func (r Rates) Half() Rates {
	half := func(n int) int {
		if n == 0 {
			return 0
		}
		return max(n/2, 1)
	}
	return Rates{PerSecond: half(r.PerSecond), PerMinute: half(r.PerMinute), PerHour: half(r.PerHour)}
}

// Step is the position of a request within a login.
type Step int

// The steps.
const (
	// StepOnly: no further request is known to follow.
	StepOnly Step = iota

	// StepFirst: another request follows immediately.
	StepFirst

	// StepNext: a first request was sent. It may wait longer than others, because
	// without it the first was useless.
	StepNext
)
