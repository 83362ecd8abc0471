// The pace of token requests: how it is configured, and how the grants of all
// accounts at a server come to share it.

package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// Pace is the most token requests that one server is sent, for all accounts
// together and, with a `cache`, by all processes. A request that would be too many
// waits, up to 30 s. What a server asks for with `Retry-After` or `retryAfter`
// is obeyed whatever is written here.
type Pace struct {
	// In any second. Default: no limit.
	PerSecond int `json:"per_second,omitempty"`

	// In any minute, at least 2: a login with a verification code takes two.
	// Default: no limit.
	PerMinute int `json:"per_minute,omitempty"`

	// In any hour, at least 2. Default: no limit.
	PerHour int `json:"per_hour,omitempty"`

	// Whether there is no limit at all. Default: false.
	Off bool `json:"off,omitempty"`
}

const paceUsage = "for example: pace 1/s 5/m 1500/h, or pace off"

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

// check reports what is wrong with a pace.
func (p *Pace) check() error {
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
		return errors.New("pace: off and limits contradict each other; " + paceUsage)
	case !p.Off && !set:
		return errors.New("pace has no limit; " + paceUsage)
	}
	return nil
}

// maxPace is the most token requests that a limit may name.
const maxPace = 1_000_000

// pace reads the subdirective:
//
//	pace off | <number>/s | <number>/m | <number>/h ...
func (p *directiveParser) pace(d *caddyfile.Dispenser) error {
	pace := new(Pace)
	for d.NextArg() {
		if d.Val() == "off" {
			pace.Off = true
			continue
		}
		number, unit, _ := strings.Cut(d.Val(), "/")
		limits := pace.limits()
		i := slices.IndexFunc(limits, func(l paceLimit) bool { return l.unit == unit })
		most, err := strconv.Atoi(number)
		switch {
		case i < 0 || err != nil || most <= 0:
			return d.Errf("pace: %q is not a number of token requests in a second, minute or hour; %s", d.Val(), paceUsage)
		case limits[i].most != 0:
			return d.Errf("pace: there are two limits for one %s", limits[i].name)
		}
		*limits[i].at = most
	}
	if err := pace.check(); err != nil {
		return d.WrapErr(err)
	}
	if d.NextBlock(d.Nesting()) {
		return d.Err("pace accepts no block")
	}
	p.transport.Pace = pace
	return nil
}

// paceLimits are the pace of a transport.
func (t *Transport) paceLimits() ratelimit.Rates {
	switch {
	case t.Pace == nil:
		return t.product.Pace
	case t.Pace.Off:
		return ratelimit.Rates{}
	}
	return ratelimit.Rates{PerSecond: t.Pace.PerSecond, PerMinute: t.Pace.PerMinute, PerHour: t.Pace.PerHour}
}
