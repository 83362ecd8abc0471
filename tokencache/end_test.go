package tokencache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestEndTakesTheTokenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{lifetime: time.Hour}
		s := NewSession(Options{})
		if s.End(t.Context()) != nil {
			t.Error("a token of a session that never had one")
		}
		tok := mustGet(t, s, srv)
		if s.End(t.Context()) != tok || s.End(t.Context()) != nil {
			t.Error("not the token, or twice")
		}
	})
}

func TestEndWaitsForTheGrantUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: 2 * time.Second, lifetime: time.Hour}
		s := NewSession(Options{})
		go func() { _, _ = s.Get(context.Background(), srv.grant) }()
		synctest.Wait()
		if tok := s.End(t.Context()); tok == nil || tok.Access.Reveal() != "access-1" {
			t.Errorf("got %v", tok)
		}
	})
}

func TestEndDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: time.Minute, lifetime: time.Hour}
		s := NewSession(Options{})
		go func() { _, _ = s.Get(context.Background(), srv.grant) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if s.End(ctx) != nil || time.Since(start) != 5*time.Second {
			t.Errorf("after %v", time.Since(start))
		}
		time.Sleep(time.Minute)
	})
}
