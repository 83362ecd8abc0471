// The pace of token requests: how it is configured, and how the grants of all
// accounts at a server come to share it.

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
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

const paceUsage = "write for example: pace 1/s 5/m 1500/h, or pace off"

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
			return fmt.Errorf("pace: %d/%s is too little: a login with a verification code takes two token requests; write at least %d/%[2]s",
				limit.most, limit.unit, limit.least)
		case limit.most > maxPace:
			return fmt.Errorf("pace: %d/%s is no limit any more; %s", limit.most, limit.unit, paceUsage)
		}
		set = true
	}
	switch {
	case p.Off && set:
		return errors.New("pace: off and limits contradict each other; " + paceUsage)
	case !p.Off && !set:
		return errors.New("pace: there is no limit in it; " + paceUsage)
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
		return d.Err("pace takes no block")
	}
	p.transport.Pace = pace
	return nil
}

// paceLimits are the pace of a transport.
func (t *Transport) paceLimits() veeam.Pace {
	switch {
	case t.Pace == nil:
		return t.product.Pace
	case t.Pace.Off:
		return veeam.Pace{}
	}
	return veeam.Pace{PerSecond: t.Pace.PerSecond, PerMinute: t.Pace.PerMinute, PerHour: t.Pace.PerHour}
}

// paces is what servers were sent, by product and origin, and by the cache where
// it is shared. It outlives reloads as the sessions do.
var paces paceMap

type paceMap struct {
	mu    sync.Mutex
	known map[[3]string]*tokencache.Pace
}

// maxOrigins is of how many servers something is remembered without a session: those
// of dynamic upstreams come and go.
const maxOrigins = 10_000

func (m *paceMap) get(product, origin, cache string) *tokencache.Pace {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [3]string{product, origin, cache}
	if known := m.known[key]; known != nil {
		return known
	}
	if m.known == nil || len(m.known) >= maxOrigins {
		m.known = make(map[[3]string]*tokencache.Pace)
	}
	added := &tokencache.Pace{Product: product, Origin: origin}
	m.known[key] = added
	return added
}

// pacer is the part of one grant in the pace of its server.
type pacer struct {
	turn    *tokencache.PaceTurn
	limits  veeam.Pace
	product string
	user    string
	metrics *metrics.Set
	journal journal.Journal
}

func (s *slot) pacer(user string, journal journal.Journal) *pacer {
	t := s.transport
	p := &pacer{limits: t.paceLimits(), product: t.product.Name, user: user, metrics: t.metrics, journal: journal}
	p.turn = &tokencache.PaceTurn{
		Pace:    paces.get(p.product, s.target.origin, t.Cache.id()),
		Rates:   tokencache.Rates(p.limits),
		Delayed: p.delayed,
	}
	if s.guest != nil {
		p.turn.Rates, p.turn.Yields = p.turn.Rates.Half(), true
	}
	if t.Cache.id() != "" {
		p.turn.Shared = t.Cache.pooled.Shared
	}
	return p
}

var paceSteps = map[veeam.PaceStep]tokencache.PaceStep{
	veeam.PaceFirst: tokencache.PaceFirst, veeam.PaceNext: tokencache.PaceNext,
}

// Pace implements veeam.Pacer.
func (p *pacer) Pace(ctx context.Context, step veeam.PaceStep) error {
	err := p.turn.Wait(ctx, paceSteps[step])
	if _, ok := errors.AsType[*tokencache.PaceError](err); ok {
		p.metrics.Paced.WithLabelValues(p.product, metrics.PaceRefused).Inc()
	}
	return err
}

// Throttled implements veeam.Pacer.
func (p *pacer) Throttled(ctx context.Context, wait time.Duration) { p.turn.Throttled(ctx, wait) }

// delayed counts a wait, and writes it if somebody may notice.
func (p *pacer) delayed(wait time.Duration) {
	p.metrics.Paced.WithLabelValues(p.product, metrics.PaceDelayed).Inc()
	if wait >= time.Second {
		p.journal.Info(svclog.Paced(p.user, p.limits.String(), wait))
	}
}

// Interface guard
var _ veeam.Pacer = (*pacer)(nil)
