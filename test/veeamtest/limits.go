// Limits of token requests, as VB365 documents its own: so many in any second, minute and hour.

package veeamtest

import (
	"net/netip"
	"time"
)

// tokenLimit is a limit over one stretch of time.
type tokenLimit struct {
	most int
	per  time.Duration
}

// WithTokenLimits answers a token request with 429 if it is one too many in the last second, minute or hour; zero is no
// limit. The answer says when the next one is taken, except at VB365. Requests that were refused do not count.
// Default: 1, 5 and 1500 at VB365, none elsewhere.
func WithTokenLimits(perSecond, perMinute, perHour int) Option {
	return func(s *Server) {
		s.cfg.limits = []tokenLimit{{perSecond, time.Second}, {perMinute, time.Minute}, {perHour, time.Hour}}
	}
}

// WithLoopbackUnlimited makes the limits hold for callers of other machines only, as VB365 does.
func WithLoopbackUnlimited() Option { return func(s *Server) { s.cfg.exemptLoopback = true } }

func loopback(from string) bool {
	addr, err := netip.ParseAddrPort(from)
	return err == nil && addr.Addr().IsLoopback()
}

// limited returns how long token requests are one too many, 0 when this one may pass. s.mu is held.
func (s *Server) limited(now time.Time) (wait time.Duration) {
	for _, limit := range s.cfg.limits {
		if limit.most == 0 || len(s.passed) < limit.most {
			continue
		}
		free := s.passed[len(s.passed)-limit.most].Add(limit.per)
		wait = max(wait, free.Sub(now))
	}
	if wait == 0 && s.cfg.limits != nil {
		s.passed = append(s.passed, now)
	}
	return wait
}
