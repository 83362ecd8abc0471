// What a server does that answers with somebody else's session, and what VBR's own integrations log in with.

package veeamtest

import "testing"

func TestAnswersAreMixedUpOnRequest(t *testing.T) {
	const rounds = 60
	uid := func(s *Server) string { return "userUid=" + s.accounts[DefaultMFAUser].UID }
	for oneIn, want := range map[int]func(n int64) bool{
		0: func(n int64) bool { return n == 0 },
		1: func(n int64) bool { return n == 2*rounds },
		3: func(n int64) bool { return n > rounds/3 && n < rounds },
	} {
		opts := []Option{WithAsKeepsRefresh()}
		if oneIn > 0 {
			opts = append(opts, WithSwappedUsers(oneIn, 7))
		}
		s := New(VSPC, opts...)
		_, refresh := defaultLogin(t, s)
		wrong := int64(0)
		whose := func(got answer) {
			if me := do(s, "GET", "/api/v3/echo", got.text(t, "access_token"), ""); me.text(t, "subject") != DefaultMFAUser {
				wrong++
			}
		}
		for range rounds {
			got := grant(s, "grant_type=as", "refresh_token="+refresh, uid(s))
			whose(got)
			whose(grant(s, "grant_type=refresh_token", "refresh_token="+got.text(t, "refresh_token")))
		}
		// What is renewed stays the wrong one, unless it is mixed up again.
		if n := s.Counters().Swapped; !want(n) || wrong > 2*n || (n > 0) != (wrong > 0) {
			t.Errorf("one in %d: %d mixed up, %d of another user", oneIn, n, wrong)
		}
		if got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh); got.status != 200 || got.text(t, "access_token") == "" {
			t.Errorf("the session of the parent: %d %s", got.status, got.body)
		}
	}
}

func TestThePlatformTokenOfVBR(t *testing.T) {
	s := New(VBR12)
	if got := grant(s, "grant_type=Vbr_token", "vbr_token="+VBRToken); got.status != 200 || status(s, got.text(t, "access_token")) != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := grant(s, "grant_type=vbr_token", "vbr_token=other"); got.status != 401 {
		t.Errorf("another: %d %s", got.status, got.body)
	}
}
