// The rate of each caller as it is configured.

package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// PerCaller is the maximum request rate of a caller.
type PerCaller struct {
	// Requests per second, at least 0.01. Required.
	PerSecond float64 `json:"per_second"`

	// The number of requests that may exceed the rate at once. Default: the rate,
	// rounded up.
	Burst int `json:"burst,omitempty"`
}

// ParsePerCaller parses and validates a rate: requests per second and an optional
// burst.
func ParsePerCaller(words []string) (l *PerCaller, err error) {
	if len(words) != 1 && len(words) != 2 {
		return nil, errors.New("rate_limit accepts the requests per second and an optional burst")
	}
	l = new(PerCaller)
	if l.PerSecond, err = strconv.ParseFloat(words[0], 64); err != nil || !(l.PerSecond >= 0.01) || math.IsInf(l.PerSecond, 0) {
		return nil, fmt.Errorf("rate_limit: %q is not a rate of at least 0.01 requests per second", words[0])
	}
	if len(words) == 2 {
		if l.Burst, err = strconv.Atoi(words[1]); err != nil || l.Burst <= 0 {
			return nil, fmt.Errorf("rate_limit: the burst %q is not a number above zero", words[1])
		}
	}
	return l, nil
}

// Check returns an error if the rate is invalid. nil is valid.
func (l *PerCaller) Check() error {
	switch {
	case l == nil:
	case !(l.PerSecond >= 0.01):
		return fmt.Errorf("rate_limit: %v is not a rate of at least 0.01 requests per second", l.PerSecond)
	case l.Burst < 0:
		return errors.New("rate_limit: the burst is negative")
	}
	return nil
}

// Callers returns a limiter for the rate and for a number of concurrent requests; zero
// is no limit. It returns nil if nothing is limited.
func (l *PerCaller) Callers(parallel int) *Callers {
	switch {
	case l == nil && parallel == 0:
		return nil
	case l == nil:
		return NewCallers(0, 0, parallel)
	}
	return NewCallers(l.PerSecond, cmp.Or(l.Burst, int(math.Ceil(l.PerSecond))), parallel)
}
