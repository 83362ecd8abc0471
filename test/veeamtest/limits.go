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

// WithTokenLimits limits the token requests in any second, minute and hour; 0 means no
// limit. A request above a limit is answered with 429 and, except at VB365, the time
// after which to retry. Refused requests do not count. Default: 1, 5 and 1500 at VB365,
// none elsewhere.
func WithTokenLimits(perSecond, perMinute, perHour int) Option {
	return func(s *Server) {
		s.cfg.limits = []tokenLimit{{perSecond, time.Second}, {perMinute, time.Minute}, {perHour, time.Hour}}
	}
}

// WithLoopbackUnlimited applies the limits only to callers on other machines, as VB365
// does.
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
