package tokencache

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

const routeA, routeB = 1, 2

func TestALate401NeverDiscardsANewerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		old := mustGet(t, s, srv)
		old.MarkAccepted()
		if !s.Unauthorized(t.Context(), old, routeA) {
			t.Fatal("a revoked token is not blamed")
		}
		newer := mustGet(t, s, srv)
		if !s.Unauthorized(t.Context(), old, routeA) {
			t.Error("a superseded token must lead to a repeat with the newer one")
		}
		s.Reject(old)
		if tok, _ := s.Current(time.Now()); tok != newer {
			t.Error("the newer token is gone")
		}
		if srv.calls.Load() != 2 {
			t.Errorf("%d grants", srv.calls.Load())
		}
	})
}

func TestFifty401sAtOnceCauseOneGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 200 * time.Millisecond, lifetime: time.Hour}
		s := NewSession(Options{})
		old := mustGet(t, s, srv)
		old.MarkAccepted()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if !s.Unauthorized(t.Context(), old, routeA) {
					t.Error("not blamed")
				}
				if tok := mustGet(t, s, srv); tok == old {
					t.Error("the old token again")
				}
			})
		}
		wg.Wait()
		if srv.calls.Load() != 2 {
			t.Errorf("%d grants", srv.calls.Load())
		}
	})
}

func TestA401OnAFreshTokenBelongsToTheRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		for range 100 {
			tok := mustGet(t, s, srv)
			if s.Unauthorized(t.Context(), tok, routeA) {
				t.Fatal("a fresh token is blamed")
			}
		}
		if srv.calls.Load() != 1 {
			t.Errorf("%d grants", srv.calls.Load())
		}
		// An unproven token that has lain idle may well have been revoked.
		time.Sleep(freshFor)
		if tok := mustGet(t, s, srv); !s.Unauthorized(t.Context(), tok, routeA) {
			t.Error("an old unproven token is not blamed")
		}
	})
}

func TestAFreshTokenProvenByAnotherRequestIsBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		tok := mustGet(t, s, srv)
		go func() {
			time.Sleep(proofWait / 2)
			tok.MarkAccepted()
		}()
		if !s.Unauthorized(t.Context(), tok, routeA) {
			t.Error("the proof that came a moment later does not count")
		}
	})
}

func TestARouteThatAlwaysAnswers401CausesFewGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		start := time.Now()
		for route := uint64(0); time.Since(start) < time.Hour; route = (route + 1) % 1000 {
			mustGet(t, s, srv).MarkAccepted() // other requests succeed all the time
			blamed := 0
			for tok := mustGet(t, s, srv); s.Unauthorized(t.Context(), tok, route); blamed++ {
				tok = mustGet(t, s, srv)
				if blamed == 3 {
					break
				}
			}
			if blamed > 0 {
				s.TrustRoute(route)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := srv.calls.Load(); got > 1+5+60 {
			t.Errorf("%d grants in an hour of 36,000 such requests", got)
		}
	})
}

func TestRealRevocationsAreNotBraked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		for i := range 200 {
			tok := mustGet(t, s, srv)
			tok.MarkAccepted()
			if !s.Unauthorized(t.Context(), tok, routeB) {
				t.Fatalf("revocation %d is taken for the route's fault", i+1)
			}
			mustGet(t, s, srv).MarkAccepted()
			s.Replayed(tok, routeB)
		}
	})
}

func TestABelievedRouteIsForgottenAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		tok := mustGet(t, s, srv)
		tok.MarkAccepted()
		for route := range uint64(3 * believeRoutes) {
			s.TrustRoute(route)
		}
		if len(s.blame.routes) > believeRoutes {
			t.Errorf("%d routes remembered", len(s.blame.routes))
		}
		s.TrustRoute(routeA)
		if s.Unauthorized(t.Context(), tok, routeA) {
			t.Error("a believed route's 401 is blamed on the token")
		}
		if !s.believed(routeA) || s.believed(12345) {
			t.Error("what is believed is wrong")
		}
		time.Sleep(believeRoute)
		if !s.Unauthorized(t.Context(), tok, routeA) {
			t.Error("believed for ever")
		}
	})
}

func TestTheRefreshTokenOfARejectedTokenIsUsedOnlyIfItDiedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		young := mustGet(t, s, srv)
		s.Reject(young)
		late := mustGet(t, s, srv)
		if srv.noted != young || young.Renewable() {
			t.Error("the refresh token of a session that was just revoked is to be tried")
		}
		time.Sleep(20 * time.Minute)
		s.Reject(late)
		mustGet(t, s, srv)
		if srv.noted != late || !late.Renewable() {
			t.Error("the refresh token of a session that ended early is not to be tried")
		}
	})
}

func TestTheRefreshTokenOutlivesAPassingFault(t *testing.T) {
	for name, tt := range map[string]struct {
		fault error
		kept  bool
	}{
		"passing fault": {errNetwork, true},
		"throttled":     {throttled(time.Second), true},
		"refused":       {refusal{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{lifetime: time.Hour}
				s := NewSession(Options{})
				tok := mustGet(t, s, srv)
				time.Sleep(revokedWithin + time.Second)
				s.Reject(tok)
				srv.fail(tt.fault)
				if _, err := s.Get(t.Context(), srv.grant); err == nil || srv.noted != tok {
					t.Fatalf("%v, the grant was given %v", err, srv.noted)
				}
				time.Sleep(time.Hour)
				srv.fail(nil)
				mustGet(t, s, srv)
				if kept := srv.noted == tok; kept != tt.kept {
					t.Errorf("the next grant was given the old token: %t", kept)
				}
			})
		})
	}
}

func TestAnExhaustedTokenIsNotRenewable(t *testing.T) {
	tok := &Token{Refresh: secret.New("refresh")}
	if !tok.Renewable() {
		t.Error("not renewable to begin with")
	}
	if tok.Exhaust(); tok.Renewable() || tok.Rejected() {
		t.Error("renewable, or rejected")
	}
}

func TestBlameEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		tok := mustGet(t, s, srv)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		s.Unauthorized(ctx, tok, routeA)
		if time.Since(start) != 0 {
			t.Error("waited for a proof although the client has gone")
		}
	})
}
