// How the token requests of logins keep to the rate that a server allows.

package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/pace"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
)

// rateMap is what servers were sent, by product and origin, and by the cache where it
// is shared.
type rateMap struct {
	mu    sync.Mutex
	known map[[3]string]*pace.Limiter
}

// maxOrigins is of how many servers something is remembered without a session: those
// of dynamic upstreams come and go.
const maxOrigins = 10_000

func (m *rateMap) get(product, origin, cache string) *pace.Limiter {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [3]string{product, origin, cache}
	if known := m.known[key]; known != nil {
		return known
	}
	if m.known == nil || len(m.known) >= maxOrigins {
		m.known = make(map[[3]string]*pace.Limiter)
	}
	added := &pace.Limiter{Product: product, Origin: origin}
	m.known[key] = added
	return added
}

// pacer is the part of one grant in the pace of its server.
type pacer struct {
	turn    *pace.Turn
	limits  ratelimit.Rates
	product string
	user    string
	metrics *metrics.Set
	journal journal.Journal
	waits   int
}

func (s *Source) pacer(user string, journal journal.Journal) *pacer {
	p := s.server.pacer(s.place.Origin, user, journal)
	if s.passthrough != nil {
		p.turn.Rates, p.turn.Yields = p.turn.Rates.Half(), true
	}
	return p
}

// Pacer is the part of one login in the pace of the server at an origin: of this process, and
// with a cache of all that share it.
func (s *Server) Pacer(origin, user string, journal journal.Journal) veeam.Pacer {
	return s.pacer(origin, user, journal)
}

// pacer is the part of one grant in the pace of the server at an origin.
func (s *Server) pacer(origin, user string, journal journal.Journal) *pacer {
	p := &pacer{limits: s.RateLimit, product: s.Product.Name, user: user, metrics: s.Metrics, journal: journal}
	p.turn = &pace.Turn{
		Limiter: s.State.rates.get(p.product, origin, s.cacheID()),
		Rates:   p.limits,
		Delayed: p.delayed,
	}
	if s.cacheID() != "" {
		p.turn.Shared = s.Cache.Store
	}
	return p
}

// Pace implements veeam.Pacer.
func (p *pacer) Pace(ctx context.Context, step ratelimit.Step) error {
	began, before := time.Now(), p.waits
	err := p.turn.Wait(ctx, step)
	if p.waits > before || err != nil {
		tracing.Past(ctx, tracing.Pace, tracing.About{Product: p.product}, began, failure(err))
	}
	if _, ok := errors.AsType[*pace.Error](err); ok {
		p.metrics.Paced.WithLabelValues(p.product, metrics.PaceRefused).Inc()
	}
	return err
}

// Throttled implements veeam.Pacer.
func (p *pacer) Throttled(ctx context.Context, wait time.Duration) { p.turn.Throttled(ctx, wait) }

// delayed counts a wait, and writes it if somebody may notice.
func (p *pacer) delayed(wait time.Duration) {
	p.waits++
	p.metrics.Paced.WithLabelValues(p.product, metrics.PaceDelayed).Inc()
	if wait >= time.Second {
		p.journal.Info(svclog.Paced(p.user, p.limits.String(), wait))
	}
}

// Interface guard
var _ veeam.Pacer = (*pacer)(nil)
