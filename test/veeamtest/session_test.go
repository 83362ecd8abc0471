// Tests of sessions: how they are renewed, how they end, what their tokens may.

package veeamtest

import (
	"strings"
	"testing"
	"time"
)

func TestRefreshTokensRotateAndWorkOnce(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p)
			access1, refresh1 := defaultLogin(t, s)
			got := grant(s, anyCase(p, "grant_type=Refresh_Token"), "refresh_token="+refresh1)
			access2, refresh2 := got.text(t, "access_token"), got.text(t, "refresh_token")
			if got.status != 200 || access1 == access2 || refresh1 == refresh2 {
				t.Fatalf("refresh: %d %s", got.status, got.body)
			}
			if again := grant(s, "grant_type=refresh_token", "refresh_token="+refresh1); again.status == 200 {
				t.Error("a refresh token worked twice")
			}
			if grant(s, "grant_type=refresh_token", "refresh_token="+access2).status == 200 {
				t.Error("an access token was taken for a refresh token")
			}
			if status(s, refresh2) != 401 {
				t.Error("a refresh token was taken for an access token")
			}
			if status(s, access1) != 200 || status(s, access2) != 200 {
				t.Error("access tokens before and after a refresh must be good")
			}
			c := s.Counters()
			if c.Refreshes != 1 || c.RefreshGrants != 3 || c.Refused != 2 || c.LiveSessions != 1 || c.Logins != 1 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestReuseOfARefreshTokenCanRevokeTheFamily(t *testing.T) {
	s := New(Azure, WithRefreshReuseRevokesFamily())
	_, refresh1 := defaultLogin(t, s)
	got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh1)
	grant(s, "grant_type=refresh_token", "refresh_token="+refresh1)
	if status(s, got.text(t, "access_token")) != 401 {
		t.Error("access token survived")
	}
	if grant(s, "grant_type=refresh_token", "refresh_token="+got.text(t, "refresh_token")).status == 200 {
		t.Error("refresh token survived")
	}
}

func TestARefreshCanRevokeTheEarlierAccessToken(t *testing.T) {
	s := New(VBR12, WithRefreshRevokesAccess())
	access1, refresh1 := defaultLogin(t, s)
	got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh1)
	if status(s, access1) != 401 || status(s, got.text(t, "access_token")) != 200 {
		t.Error("want the old one dead and the new one good")
	}
}

func TestTokensExpireByTheServersClock(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p, fixed(), WithAccessLifetime(10*time.Minute), WithRefreshLifetime(time.Hour))
			access, refresh := defaultLogin(t, s)
			s.Advance(10*time.Minute - time.Second)
			if status(s, access) != 200 {
				t.Error("expired too early")
			}
			s.Advance(time.Second)
			if status(s, access) != 401 {
				t.Error("outlived its time")
			}
			s.Advance(50 * time.Minute)
			if got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh); got.status == 200 {
				t.Error("refresh token outlived its time")
			}
			if c := s.Counters(); c.LiveSessions != 0 {
				t.Errorf("live sessions: %d", c.LiveSessions)
			}
		})
	}
}

func TestSingleSession(t *testing.T) {
	s := New(VSPC, WithSingleSession(), WithAccount(Account{Username: "other", Password: "x"}))
	access1, refresh1 := defaultLogin(t, s)
	other, _ := login(t, s, "other", "x")
	access2, _ := defaultLogin(t, s)
	if status(s, access1) != 401 || grant(s, "grant_type=refresh_token", "refresh_token="+refresh1).status == 200 {
		t.Error("the first session lives on")
	}
	if status(s, access2) != 200 || status(s, other) != 200 {
		t.Error("the second session or another user's was ended")
	}
}

func TestRevocation(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p)
			access, refresh := defaultLogin(t, s)
			s.RevokeAccess()
			if status(s, access) != 401 {
				t.Error("access token survived RevokeAccess")
			}
			got := grant(s, "grant_type=refresh_token", "refresh_token="+refresh)
			if got.status != 200 {
				t.Fatal("refresh token did not survive RevokeAccess")
			}
			s.RevokeAll()
			if status(s, got.text(t, "access_token")) != 401 || grant(s, "grant_type=refresh_token", "refresh_token="+got.text(t, "refresh_token")).status == 200 {
				t.Error("tokens survived RevokeAll")
			}
		})
	}
}

func TestRandomRevocationFollowsItsSeed(t *testing.T) {
	run := func(seed uint64) (pattern string) {
		s := New(AWS, WithRevokeRandom(3, seed))
		access, _ := defaultLogin(t, s)
		for range 60 {
			if status(s, access) == 200 {
				pattern += "+"
			} else {
				pattern += "-"
				access, _ = defaultLogin(t, s)
			}
		}
		return pattern
	}
	a := run(7)
	if a != run(7) {
		t.Error("equal seeds, other choices")
	}
	if n := strings.Count(a, "-"); n < 5 || n > 30 {
		t.Errorf("%d of 60 revoked: %s", n, a)
	}
}

func TestPasswordChange(t *testing.T) {
	s := New(VBR13)
	access, refresh := defaultLogin(t, s)
	s.SetPassword(DefaultUser, "new")
	if status(s, access) != 200 || grant(s, "grant_type=refresh_token", "refresh_token="+refresh).status != 200 {
		t.Error("a password change must not end sessions")
	}
	if grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword).status == 200 {
		t.Error("the old password works")
	}
	login(t, s, DefaultUser, "new")
}

func TestReadOnlyTokens(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p, WithAccount(Account{Username: "viewer", Password: "x", ReadOnly: true}))
			access, refresh := login(t, s, "viewer", "x")
			check := func(access string) {
				t.Helper()
				if status(s, access) != 200 {
					t.Error("reading was refused")
				}
				if got := do(s, "POST", s.Base()+"/execute?op=x", access, ""); got.status != 403 {
					t.Errorf("writing: %d", got.status)
				}
			}
			check(access)
			check(grant(s, "grant_type=refresh_token", "refresh_token="+refresh).text(t, "access_token"))
			if len(s.Counters().Executed) != 0 {
				t.Error("executed")
			}
		})
	}
}
