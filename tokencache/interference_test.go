package tokencache

import (
	"testing"
	"testing/synctest"
	"time"
)

// lose has the server end the session's token after a while, and a request find
// that out and succeed with another one. It returns how long that request took.
func lose(t *testing.T, s *Session, srv *server, after time.Duration) (Loss, time.Duration) {
	t.Helper()
	tok := mustGet(t, s, srv)
	tok.MarkAccepted()
	time.Sleep(after)
	began := time.Now()
	if !s.Unauthorized(t.Context(), tok, routeA) {
		t.Fatal("not blamed")
	}
	mustGet(t, s, srv).MarkAccepted()
	took := time.Since(began)
	loss, proved := s.Replayed(tok, routeA)
	if !proved {
		t.Fatal("the loss is not told")
	}
	if _, again := s.Replayed(tok, routeA); again {
		t.Error("the loss is told twice")
	}
	return loss, took
}

func TestWhichLossesAreInterference(t *testing.T) {
	const ended, restarted = 15 * time.Minute, 40 * time.Second
	for _, tt := range []struct {
		name     string
		lifetime time.Duration
		after    []time.Duration // each token is lost, none is pause between them
		pause    time.Duration
		want     bool
	}{
		{"another program asks every ten seconds", time.Hour, []time.Duration{10 * time.Second, 10 * time.Second, 10 * time.Second}, 0, true},
		{"another program asks every five minutes", time.Hour, []time.Duration{301 * time.Second, 301 * time.Second, 301 * time.Second}, 0, true},
		{"at tokens of 15 minutes too", 15 * time.Minute, []time.Duration{301 * time.Second, 301 * time.Second, 301 * time.Second}, 0, true},
		{"twice", time.Hour, []time.Duration{time.Minute, time.Minute}, 0, false},
		{"once a day", 48 * time.Hour, []time.Duration{time.Minute, time.Minute, time.Minute, time.Minute}, 24 * time.Hour, false},
		{"the server has restarted", time.Hour, []time.Duration{restarted}, 0, false},
		{"tokens end before their announced time", time.Hour, []time.Duration{ended, ended, ended, ended}, 0, false},
		{"short tokens are over", 30 * time.Second, []time.Duration{20 * time.Second, 20 * time.Second, 20 * time.Second}, 0, false},
		{"one was valid for longer", time.Hour, []time.Duration{time.Minute, time.Minute, 20 * time.Minute, time.Minute}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{lifetime: tt.lifetime}
				s := NewSession(Options{})
				var last Loss
				for _, after := range tt.after {
					last, _ = lose(t, s, srv, after)
					time.Sleep(tt.pause)
				}
				if last.Interference() != tt.want || s.State().LostEarly > 0 != tt.want {
					t.Errorf("%+v, %+v", last, s.State())
				}
			})
		})
	}
}

func TestAnExpiredTokenIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: 20 * time.Second}
		s := NewSession(Options{})
		for range 10 {
			mustGet(t, s, srv).MarkAccepted()
			time.Sleep(21 * time.Second)
		}
		if s.State().LostEarly > 0 {
			t.Errorf("%+v", s.State())
		}
	})
}

func TestARouteThatAlwaysAnswers401IsNoInterference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		for range 20 {
			tok := mustGet(t, s, srv)
			tok.MarkAccepted()
			time.Sleep(time.Second)
			s.Unauthorized(t.Context(), tok, routeA) // is never accepted
			// Another request met the 401 of the token that was being logged out.
			if s.Unauthorized(t.Context(), tok, routeB) {
				mustGet(t, s, srv).MarkAccepted()
				s.Replayed(tok, routeB)
			}
		}
		if s.State().LostEarly > 0 {
			t.Errorf("%+v", s.State())
		}
	})
}

func TestLoginsAreSpacedUnderInterference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		began := time.Now()
		var took []time.Duration
		for time.Since(began) < 15*time.Minute {
			_, d := lose(t, s, srv, 100*time.Millisecond)
			took = append(took, d)
		}
		for i, d := range took {
			if i < interferenceTimes && d > 0 || d > maxSpacing {
				t.Errorf("request %d waited %v", i, d)
			}
		}
		if last := took[len(took)-1]; last < maxSpacing-time.Second || len(took) > 80 || took[20] > 2*time.Second {
			t.Errorf("%d logins, after %v", len(took), took)
		}
		// Somebody who asks seldom waits for nothing.
		if _, d := lose(t, s, srv, 5*time.Minute); d > 0 {
			t.Errorf("waited %v although the last login is long ago", d)
		}
		// It ends with a token that is left alone.
		tok := mustGet(t, s, srv)
		time.Sleep(time.Until(tok.Expires()) - time.Second*30)
		s.Renew(t.Context(), srv.grant)
		synctest.Wait()
		if s.State().LostEarly != 0 {
			t.Errorf("%+v", s.State())
		}
		if _, d := lose(t, s, srv, time.Second); d > 0 {
			t.Errorf("waited %v", d)
		}
	})
}
