package tokencache

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func TestARefusedCredentialIsHeldForAGrowingTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 100 * time.Millisecond}
		srv.fail(refusal{})
		s := NewSession(Options{})
		start := time.Now()
		var tries []time.Duration
		for time.Since(start) < 5*time.Hour {
			before := srv.calls.Load()
			_, err := s.Get(context.Background(), srv.grant)
			var blocked *BlockedError
			if !errors.As(err, &blocked) || !blocked.Held || !errors.Is(err, refusal{}) {
				t.Fatalf("got %v", err)
			}
			if after := blocked.RetryAfter(time.Now()); after < time.Second || after > 36*time.Minute {
				t.Fatalf("Retry-After %v", after)
			}
			if srv.calls.Load() > before {
				tries = append(tries, time.Since(start))
			}
			time.Sleep(5 * time.Second)
		}
		want := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 30 * time.Minute, 30 * time.Minute}
		for i, least := range want {
			gap := tries[i+1] - tries[i]
			if gap < least || gap > least+least/5+6*time.Second {
				t.Errorf("try %d came %v after the one before, want %v and up to a fifth more", i+2, gap, least)
			}
		}
	})
}

func TestTwoHundredClientsWithAWrongPasswordCauseThreeTriesInFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 50 * time.Millisecond}
		srv.fail(refusal{})
		s := NewSession(Options{})
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, err := s.Get(ctx, srv.grant); err == nil {
						t.Error("a token for a wrong password")
					}
					time.Sleep(time.Second)
				}
			})
		}
		wg.Wait()
		if got := srv.calls.Load(); got < 2 || got > 3 {
			t.Errorf("%d tries", got)
		}
	})
}

func TestThePauseIsTheOneTheServerAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{}
		srv.fail(throttled(25 * time.Second))
		s := NewSession(Options{})
		_, err := s.Get(context.Background(), srv.grant)
		var blocked *BlockedError
		if !errors.As(err, &blocked) || blocked.Held || blocked.RetryAfter(time.Now()) != 25*time.Second {
			t.Fatalf("got %+v", err)
		}
		time.Sleep(24 * time.Second)
		_, _ = s.Get(context.Background(), srv.grant)
		if srv.calls.Load() != 1 {
			t.Error("asked again too early")
		}
		srv.fail(nil)
		srv.lifetime = time.Hour
		time.Sleep(2 * time.Second)
		mustGet(t, s, srv)
	})
}

func TestAPassingFaultBacksOffShortlyAndEndsWithTheFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		srv.fail(errNetwork)
		s := NewSession(Options{})
		start := time.Now()
		for time.Since(start) < time.Minute {
			_, err := s.Get(context.Background(), srv.grant)
			if !errors.Is(err, errNetwork) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := srv.calls.Load(); got < 6 || got > 10 {
			t.Errorf("%d tries in a minute", got)
		}
		srv.fail(nil)
		time.Sleep(maxBackoff * 2)
		mustGet(t, s, srv)
		if st := s.State(); st.Status != StatusValid || st.LastError != "" {
			t.Errorf("state %+v", st)
		}
	})
}

func TestAHoldAfterNetworkFaultsStartsAtItsLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{}
		srv.fail(errNetwork)
		s := NewSession(Options{})
		for range 6 {
			_, _ = s.Get(context.Background(), srv.grant)
			time.Sleep(maxBackoff * 2)
		}
		srv.fail(refusal{})
		_, err := s.Get(context.Background(), srv.grant)
		var blocked *BlockedError
		if !errors.As(err, &blocked) || blocked.RetryAfter(time.Now()) > 6*time.Minute {
			t.Errorf("got %v, %v", err, blocked.RetryAfter(time.Now()))
		}
		s.Release()
		srv.fail(nil)
		srv.lifetime = time.Hour
		mustGet(t, s, srv)
	})
}

func TestAValidTokenServesOnWhileRenewalsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{RefreshBefore: 10 * time.Minute})
		old := mustGet(t, s, srv)
		for _, err := range []error{errNetwork, throttled(time.Minute), refusal{}} {
			s.Release()
			srv.fail(err)
			time.Sleep(time.Until(old.renewAt) + time.Minute)
			s.Renew(context.Background(), srv.grant)
			synctest.Wait()
			if tok, _ := s.Current(time.Now()); tok != old {
				t.Fatalf("%v: token lost", err)
			}
			if tok := mustGet(t, s, srv); tok != old {
				t.Fatalf("%v: Get gave %v", err, tok)
			}
		}
		calls := srv.calls.Load()
		for range 1000 {
			s.Renew(context.Background(), srv.grant)
		}
		synctest.Wait()
		if srv.calls.Load() != calls {
			t.Error("renewals go on although the credential is held")
		}
	})
}

func TestAHoldCanBeExtendedAndNeverShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{}
		s := NewSession(Options{})
		later := time.Now().Add(10 * time.Minute)
		if err := s.Extend(context.Background(), later); err != nil || s.State().HeldFor != 0 {
			t.Errorf("a hold where there is none: %v", err)
		}
		srv.fail(refusal{})
		_, _ = s.Get(context.Background(), srv.grant)
		for _, until := range []time.Time{later, later.Add(-5 * time.Minute), later} {
			if err := s.Extend(context.Background(), until); err != nil || s.State().HeldFor != time.Until(later) {
				t.Errorf("held for %v, %v", s.State().HeldFor, err)
			}
		}
		time.Sleep(time.Until(later) - time.Second)
		_, _ = s.Get(context.Background(), srv.grant)
		if n := srv.calls.Load(); n != 1 {
			t.Errorf("%d tries within the hold", n)
		}
		time.Sleep(time.Second)
		srv.fail(nil)
		if _, err := s.Get(context.Background(), srv.grant); err != nil {
			t.Errorf("after the hold: %v", err)
		}
	})
}

func TestASessionIsRenewableWhileItsRefreshTokenIsWorthATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSession(Options{})
		if s.Renewable() {
			t.Error("without a token")
		}
		grant := func(context.Context, *Token) (*Token, error) {
			return &Token{Access: secret.New("a"), Refresh: secret.New("r"), Lifetime: time.Hour}, nil
		}
		tok, err := s.Get(context.Background(), grant)
		if err != nil || !s.Renewable() {
			t.Errorf("with a token: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if !s.Renewable() {
			t.Error("with one that is over")
		}
		s.Reject(tok)
		if !s.Renewable() {
			t.Error("with one that was rejected late")
		}
		tok.Exhaust()
		if s.Renewable() {
			t.Error("with a refresh token that is used up")
		}
	})
}
