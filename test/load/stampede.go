// Many clients at once where there is no token: at the start, and after all
// tokens were revoked.

package main

import (
	"context"
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	stampedeClients = 1000
	grantLatency    = 200 * time.Millisecond // of each token request
)

// measureCold sends all requests to a sidecar that has just started.
func measureCold(ctx context.Context, r *report) error {
	return eachProduct(func(s *setup) error {
		return measureStampede(ctx, r, s, 0)
	})
}

// measureRevoked sends all requests when every token has been revoked. A
// verification code is good once, so with MFA the new login, and with it all
// clients, wait for the next code, at most 30 seconds. Because that is dear, the
// refresh token is tried first.
func measureRevoked(ctx context.Context, r *report) error {
	return eachProduct(func(s *setup) error {
		if _, err := send(ctx, newClient(1), http.MethodGet, s.url("echo"), nil); err != nil {
			return err
		}
		s.server.RevokeAll()
		s.server.ResetCounters()
		refreshes := 0
		if s.product.mfa {
			refreshes = 1
		}
		return measureStampede(ctx, r, s, refreshes)
	})
}

// eachProduct measures at one server after the other.
func eachProduct(measure func(*setup) error) error {
	for _, p := range every() {
		s, err := start(p, veeamtest.WithLatency(grantLatency))
		if err != nil {
			return err
		}
		err = measure(s)
		s.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// measureStampede expects one login, after so many renewals that are refused.
func measureStampede(ctx context.Context, r *report, s *setup, refreshes int) error {
	t := stampede(ctx, s.url("echo"), stampedeClients)
	c := s.server.Counters()
	name := s.product.name + ", "
	r.exactly(name+"logins", c.Logins, 1)
	r.exactly(name+"token requests", c.TokenRequests, s.product.tokenRequests()+int64(refreshes))
	r.check(t.failed == 0, name+"failed requests", t.failures(), "0")
	r.note(name+"time until the answer, median and longest", spread(t.took))
	return s.faults()
}
