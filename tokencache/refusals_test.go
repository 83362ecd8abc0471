// Refusals among other failures of a server.

package tokencache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// flaky refuses the credential, and has other faults between two refusals.
func flaky(srv *server, faults ...error) (grant GrantFunc, refusals *int) {
	refusals = new(int)
	kinds := append([]error{refusal{}}, faults...)
	next := 0
	return func(ctx context.Context, prev *Token) (*Token, error) {
		if next == 0 {
			*refusals++
		}
		srv.fail(kinds[next])
		next = (next + 1) % len(kinds)
		return srv.grant(ctx, prev)
	}, refusals
}

func TestFaultsBetweenRefusalsDoNotShortenTheHolds(t *testing.T) {
	for name, faults := range map[string][]error{
		"none":     nil,
		"network":  {errNetwork, errNetwork},
		"throttle": {throttled(time.Second)},
		"both":     {throttled(time.Second), errNetwork},
	} {
		for _, shared := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s, most := NewSession(Options{}), 3
				if shared {
					s, most = start(newMemory(), newKeys(t)).Session, 1
				}
				grant, refusals := flaky(&server{}, faults...)
				began := time.Now()
				for inFive := 0; time.Since(began) < 2*time.Hour; time.Sleep(min(10*time.Second, max(time.Second, time.Since(began)-5*time.Minute))) {
					_, _ = s.Get(context.Background(), grant)
					if time.Since(began) < 5*time.Minute {
						inFive = *refusals
					}
					if inFive > most {
						t.Fatalf("%s, shared %t: refused %d times in five minutes", name, shared, inFive)
					}
				}
				if !shared && *refusals > 9 || shared && *refusals > 6 {
					t.Errorf("%s, shared %t: refused %d times in two hours", name, shared, *refusals)
				}
			})
		}
	}
}

func TestARestartAfterAPauseGoesOnCountingRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{}
		for range 3 {
			srv.fail(refusal{})
			_, _ = start(store, k).Get(context.Background(), srv.grant)
			time.Sleep(40 * time.Minute)
			srv.fail(throttled(time.Second))
			_, _ = start(store, k).Get(context.Background(), srv.grant)
			time.Sleep(2 * time.Second)
		}
		srv.fail(refusal{})
		s := start(store, k)
		_, _ = s.Get(context.Background(), srv.grant)
		if held := s.State().HeldFor; held < 30*time.Minute {
			t.Errorf("the fourth hold lasts %v", held)
		}
	})
}
