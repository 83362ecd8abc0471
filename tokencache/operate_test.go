package tokencache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestATokenIsRenewedNowAlthoughItIsNotDue(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) *Session{
		"in one process": func(*testing.T) *Session { return NewSession(Options{}) },
		"in a store":     func(t *testing.T) *Session { return start(newMemory(), newKeys(t)).Session },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{takes: time.Second, lifetime: time.Hour}
				s := start(t)
				if tok, err := s.RenewNow(context.Background(), srv.grant); err != nil || tok == nil || srv.calls.Load() != 1 {
					t.Fatalf("without a token: %v, %v", tok, err)
				}
				old := mustGet(t, s, srv)
				done := make(chan error, 1)
				go func() {
					_, err := s.RenewNow(context.Background(), srv.grant)
					done <- err
				}()
				synctest.Wait()
				if tok := mustGet(t, s, srv); tok != old {
					t.Error("the token is not in use while it is renewed")
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if tok := mustGet(t, s, srv); tok == old || srv.calls.Load() != 2 || srv.noted != old {
					t.Errorf("%d grants, the last for %p, not %p", srv.calls.Load(), srv.noted, old)
				}
				if _, due := s.Current(time.Now()); due {
					t.Error("the new token is due at once")
				}
			})
		})
	}
}

func TestARenewalThatFailsNowIsNotRepeated(t *testing.T) {
	for _, failure := range []error{errNetwork, refusal{}} {
		synctest.Test(t, func(t *testing.T) {
			srv := &server{lifetime: time.Hour}
			s := NewSession(Options{})
			old := mustGet(t, s, srv)
			srv.fail(failure)
			if _, err := s.RenewNow(context.Background(), srv.grant); !errors.Is(err, failure) {
				t.Errorf("got %v", err)
			}
			if tok, due := s.Current(time.Now()); tok != old || due {
				t.Errorf("%v: the token is lost, or due: %v, %v", failure, tok, due)
			}
		})
	}
}
