package tokencache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func TestAThousandColdCallersCauseOneGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 200 * time.Millisecond, lifetime: time.Hour}
		s := NewSession(Options{})
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				tok, err := s.Get(context.Background(), srv.grant)
				if err != nil || tok.Access.Reveal() != "access-1" {
					t.Errorf("got %v, %v", tok, err)
				}
			})
		}
		synctest.Wait()
		if got := s.Waiting(); got != 1000 {
			t.Errorf("%d waiters counted", got)
		}
		wg.Wait()
		if srv.calls.Load() != 1 || s.Waiting() != 0 {
			t.Errorf("%d grants, %d waiters left", srv.calls.Load(), s.Waiting())
		}
	})
}

func TestAWaiterLeavesAloneAndTheGrantGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: time.Second, lifetime: time.Hour}
		s := NewSession(Options{})
		first, cancel := context.WithCancel(context.Background())
		left := make(chan error, 1)
		go func() {
			_, err := s.Get(first, srv.grant)
			left <- err
		}()
		synctest.Wait()
		stayed := make(chan *Token, 1)
		go func() { stayed <- mustGet(t, s, srv) }()
		synctest.Wait()
		start := time.Now()
		cancel() // the one whose request started the grant
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the one that left got %v", err)
		}
		if time.Since(start) != 0 {
			t.Error("leaving waited for the grant")
		}
		if tok := <-stayed; tok == nil || srv.calls.Load() != 1 {
			t.Errorf("token %v after %d grants", tok, srv.calls.Load())
		}
	})
}

// The token of a grant is in use a moment before the grant ends. Who calls in that moment
// joins the grant, but gets what the call is for.
func TestAGrantThatIsAboutToEndAnswersNobodyWhoKnowsItsToken(t *testing.T) {
	for name, call := range map[string]func(*Session, GrantFunc, *Token) (*Token, error){
		"after a 401": func(s *Session, grant GrantFunc, old *Token) (*Token, error) {
			s.Reject(old)
			return s.Get(context.Background(), grant)
		},
		"to renew": func(s *Session, grant GrantFunc, _ *Token) (*Token, error) {
			return s.RenewNow(context.Background(), grant)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{lifetime: time.Hour}
				var s *Session
				var old *Token
				var ending sync.Once
				again := make(chan *Token, 1)
				s = NewSession(Options{Turned: func(Turn, *BlockedError) {
					ending.Do(func() {
						go func() {
							old, _ = s.Current(time.Now())
							tok, err := call(s, srv.grant, old)
							if err != nil {
								t.Error(err)
							}
							again <- tok
						}()
						synctest.Wait() // it waits for the grant that calls here
					})
				}})
				mustGet(t, s, srv)
				tok := <-again
				if tok == old || srv.calls.Load() != 2 {
					t.Errorf("it got the known token, %v; %d grants", tok == old, srv.calls.Load())
				}
				if now, due := s.Current(time.Now()); now != tok || due {
					t.Errorf("in use: %v, due %v", now, due)
				}
			})
		})
	}
}

func TestAGrantThatHangsEndsWithItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: time.Hour}
		s := NewSession(Options{GrantTimeout: 10 * time.Second})
		start := time.Now()
		_, err := s.Get(context.Background(), srv.grant)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestRenewalRunsInTheBackgroundOnTheOldToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 2 * time.Second, lifetime: time.Hour}
		s := NewSession(Options{})
		old := mustGet(t, s, srv)

		time.Sleep(time.Until(old.expires) - 20*time.Second)
		for range 100 {
			tok, due := s.Current(time.Now())
			if tok != old || !due {
				t.Fatalf("got %v, due %v", tok, due)
			}
			s.Renew(context.Background(), srv.grant)
		}
		synctest.Wait()
		if s.State().Status != StatusRefreshing {
			t.Errorf("state %v", s.State().Status)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if tok, due := s.Current(time.Now()); tok == old || tok == nil || due {
			t.Errorf("after the renewal: %v, due %v", tok, due)
		}
		if srv.calls.Load() != 2 || srv.noted != old {
			t.Errorf("%d grants, renewed from %v", srv.calls.Load(), srv.noted)
		}
	})
}

func TestRenewalIsDueInsideTheWindowAndJittered(t *testing.T) {
	for _, c := range []struct {
		lifetime, before time.Duration
		from, to         time.Duration // before expiry
	}{
		{time.Hour, time.Minute, 53 * time.Second, 65 * time.Second},
		{15 * time.Minute, 5 * time.Minute, 4 * time.Minute, 5*time.Minute + 5*time.Second},
		{3 * time.Second, time.Minute, 850 * time.Millisecond, 1150 * time.Millisecond},
		{0, time.Minute, 280 * time.Millisecond, 390 * time.Millisecond},
	} {
		seen := map[time.Duration]bool{}
		for range 200 {
			tok := &Token{Access: secret.New("x"), Requested: time.Now(), Lifetime: c.lifetime}
			tok.arm(Options{RefreshBefore: c.before})
			lead := tok.expires.Sub(tok.renewAt)
			seen[lead] = true
			if lead < c.from || lead > c.to {
				t.Errorf("lifetime %v, refresh_before %v: due %v before the end", c.lifetime, c.before, lead)
			}
			if !tok.renewAt.Before(tok.usableUntil) || !tok.usableUntil.Before(tok.expires) {
				t.Errorf("order of %v, %v, %v", tok.renewAt, tok.usableUntil, tok.expires)
			}
		}
		if len(seen) < 50 {
			t.Errorf("only %d different moments in 200", len(seen))
		}
	}
}

func TestTheTimesOfASessionMayChangeWhileItIsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k, srv := newMemory(), newKeys(t), &server{lifetime: 10 * time.Minute}
		p := start(store, k)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				p.Adapt(Options{RefreshBefore: time.Duration(i) * time.Second})
				p.Reject(mustGet(t, p.Session, srv))
			})
		}
		wg.Wait()
		p.Adapt(Options{RefreshBefore: 3 * time.Minute, HoldLeast: time.Hour})
		tok := mustGet(t, p.Session, srv)
		if lead := tok.expires.Sub(tok.renewAt); lead < 2*time.Minute {
			t.Errorf("due %v before the end", lead)
		}
		p.Reject(tok)
		srv.fail(refusal{})
		_, _ = p.Get(context.Background(), srv.grant)
		if held := p.State().HeldFor; held < time.Hour {
			t.Errorf("held for %v", held)
		}
	})
}

func TestLifetimeCountsFromTheMomentOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 10 * time.Second, lifetime: time.Minute}
		s := NewSession(Options{})
		start := time.Now()
		tok := mustGet(t, s, srv)
		if got := tok.Expires().Sub(start); got != time.Minute {
			t.Errorf("expires %v after the request was sent", got)
		}
	})
}

func TestATokenThatIsDeadOnArrivalIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 10 * time.Second, lifetime: 5 * time.Second}
		s := NewSession(Options{})
		if tok, err := s.Get(context.Background(), srv.grant); !errors.Is(err, errDeadOnArrival) {
			t.Errorf("got %v, %v", tok, err)
		}
	})
}

func TestAPanicOfAGrantIsAnErrorWithoutItsText(t *testing.T) {
	s := NewSession(Options{})
	_, err := s.Get(context.Background(), func(context.Context, *Token) (*Token, error) {
		panic("hunter2 in a panic")
	})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if _, err = NewSession(Options{}).Get(context.Background(), func(context.Context, *Token) (*Token, error) {
		return nil, nil
	}); !errors.Is(err, errNoToken) {
		t.Errorf("got %v", err)
	}
}

func TestATokenPrintsNoSecret(t *testing.T) {
	tok := &Token{Access: secret.New("acc-canary"), Refresh: secret.New("ref-canary")}
	tok.arm(Options{RefreshBefore: time.Minute})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if out := fmt.Sprintf(verb, tok); strings.Contains(out, "canary") {
			t.Errorf("%s: %s", verb, out)
		}
	}
	for _, c := range []struct {
		options      Options
		header, want string
	}{
		{Options{}, "Authorization", "Bearer acc-canary"},
		{Options{Header: "X-RestSvcSessionId"}, "X-RestSvcSessionId", "acc-canary"},
	} {
		tok := &Token{Access: secret.New("acc-canary")}
		tok.arm(c.options)
		h := make(http.Header, 1)
		if tok.Present(h); len(h) != 1 || len(h[c.header]) != 1 || h[c.header][0] != c.want {
			t.Errorf("headers %q", h)
		}
	}
}

func BenchmarkCurrent(b *testing.B) {
	srv := &server{lifetime: time.Hour}
	s := NewSession(Options{})
	if _, err := s.Get(context.Background(), srv.grant); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if tok, _ := s.Current(time.Now()); tok == nil {
				b.Error("no token")
			}
		}
	})
}
