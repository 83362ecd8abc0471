// The pace of token requests as it is configured.

package ratelimit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pace is the maximum rate of token requests to one server, for all accounts together
// and, with a `cache`, for all processes. A request above it waits up to 30 s. A
// server's `Retry-After` or `retryAfter` always applies.
type Pace struct {
	// Requests per second. Default: no limit.
	PerSecond int `json:"per_second,omitempty"`

	// Requests per minute, at least 2: a login with a verification code requires two.
	// Default: no limit.
	PerMinute int `json:"per_minute,omitempty"`

	// Requests per hour, at least 2. Default: no limit.
	PerHour int `json:"per_hour,omitempty"`

	// Whether there is no limit. Default: false.
	Off bool `json:"off,omitempty"`
}

const (
	paceUsage = "for example: pace 1/s 5/m 1500/h, or pace off"

	// maxPace is the most token requests that a limit may name.
	maxPace = 1_000_000
)

// paceLimit is one of the limits of a pace.
type paceLimit struct {
	unit, name  string
	most, least int
	at          *int
}

func (p *Pace) limits() []paceLimit {
	return []paceLimit{
		{unit: "s", name: "second", most: p.PerSecond, least: 1, at: &p.PerSecond},
		{unit: "m", name: "minute", most: p.PerMinute, least: 2, at: &p.PerMinute},
		{unit: "h", name: "hour", most: p.PerHour, least: 2, at: &p.PerHour},
	}
}

// ParsePace parses and validates a pace: off, or limits such as 5/m, at most one for
// each unit.
func ParsePace(words []string) (*Pace, error) {
	p := new(Pace)
	for _, word := range words {
		if word == "off" {
			p.Off = true
			continue
		}
		number, unit, _ := strings.Cut(word, "/")
		limits := p.limits()
		i := slices.IndexFunc(limits, func(l paceLimit) bool { return l.unit == unit })
		most, err := strconv.Atoi(number)
		switch {
		case i < 0 || err != nil || most <= 0:
			return nil, fmt.Errorf("pace: %q is not a number of token requests in a second, minute or hour; %s", word, paceUsage)
		case limits[i].most != 0:
			return nil, fmt.Errorf("pace: two limits for one %s", limits[i].name)
		}
		*limits[i].at = most
	}
	return p, p.Check()
}

// Check returns an error if the pace is invalid. nil is valid.
func (p *Pace) Check() error {
	if p == nil {
		return nil
	}
	set := false
	for _, limit := range p.limits() {
		switch {
		case limit.most == 0:
			continue
		case limit.most < limit.least:
			return fmt.Errorf("pace: %d/%s is too low: a login with a verification code takes two token requests; write at least %d/%[2]s",
				limit.most, limit.unit, limit.least)
		case limit.most > maxPace:
			return fmt.Errorf("pace: %d/%s is not a limit; %s", limit.most, limit.unit, paceUsage)
		}
		set = true
	}
	switch {
	case p.Off && set:
		return errors.New("pace: off does not accept limits; " + paceUsage)
	case !p.Off && !set:
		return errors.New("pace requires a limit; " + paceUsage)
	}
	return nil
}

// Rates returns the rates of the pace, or those of the product without a pace.
func (p *Pace) Rates(product Rates) Rates {
	switch {
	case p == nil:
		return product
	case p.Off:
		return Rates{}
	}
	return Rates{PerSecond: p.PerSecond, PerMinute: p.PerMinute, PerHour: p.PerHour}
}
