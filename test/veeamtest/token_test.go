// Tests of what all products do at their token endpoints.

package veeamtest

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPasswordGrantOpensProtectedRoutes(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p)
			access, _ := defaultLogin(t, s)
			if got := status(s, access); got != 200 {
				t.Errorf("with a token: %d", got)
			}
			for name, bearer := range map[string]string{"none": "", "unknown": "nonsense", "null": "null"} {
				if got := status(s, bearer); got != 401 {
					t.Errorf("bearer %s: %d", name, got)
				}
			}
			c := s.Counters()
			if c.TokenRequests != 1 || c.PasswordGrants != 1 || c.Logins != 1 || c.Protected != 1 || c.Unauthorized != 3 || c.LiveSessions != 1 {
				t.Errorf("counters: %+v", c)
			}
		})
	}
}

func TestFormsAreReadAsTheServersReadThem(t *testing.T) {
	password := "p%&+ =ö\\1"
	account := WithAccount(Account{Username: `DOM\user`, Password: password})
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			for name, body := range map[string]string{
				"escaped":        `grant_type=password&username=DOM%5cuser&password=p%25%26%2B+%3D%C3%B6%5C1`,
				"order":          `password=p%25%26%2B%20%3D%c3%b6%5c1&username=dom%5CUSER&grant_type=password`,
				"unescaped sign": `grant_type=password&username=DOM\user&password=p%%26%2b =ö\1`,
				"empty pairs":    `&&grant_type=password&username=DOM%5cuser&&&password=p%25%26%2B+%3D%C3%B6%5C1&&&&&&&`,
				"blank fields":   `grant_type=password&refresh_token=&code=&vbr_token=+&username=DOM%5cuser&password=p%25%26%2B+%3D%C3%B6%5C1`,
				"enum case":      anyCase(p, "grant_type=PassWord") + `&username=DOM%5cuser&password=p%25%26%2B+%3D%C3%B6%5C1`,
			} {
				s := unlimited(p, account)
				got := do(s, "POST", s.TokenPath(), "", body, "Content-Type", formType+"; charset=utf-8")
				if got.status != 200 {
					t.Errorf("%s: %d %s", name, got.status, got.body)
				}
				if seen := s.Seen(); len(seen) != 1 || seen[0].Body != body || seen[0].Form.Get("password") != password || seen[0].Status != 200 {
					t.Errorf("%s: recorded %+v", name, seen)
				}
			}
		})
	}
}

func TestFieldNamesFoldAtAzureAndGoogleOnly(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p)
			got := grant(s, "Grant_Type=Password", "Username="+DefaultUser, "PASSWORD="+DefaultPassword)
			if ok := got.status == 200; ok != (p == Azure || p == GCP) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

func TestOtherBodiesAreRefused(t *testing.T) {
	want := map[Profile]int{VBR12: 400, VBR13: 400, VSPC: 415, VSPC35: 415, Azure: 415, AWS: 415, GCP: 415, VB365: 415, ONE: 415}
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			for _, contentType := range []string{"application/json", "multipart/form-data; boundary=x", "text/plain", ""} {
				if products[p].multipart && strings.HasPrefix(contentType, "multipart") || products[p].jsonBody && contentType == "application/json" {
					continue
				}
				s := unlimited(p)
				body := `{"grant_type":"password","username":"svc-monitor","password":"monitor-pass-1"}`
				got := do(s, "POST", s.TokenPath(), "", body, "Content-Type", contentType)
				if got.status != want[p] {
					t.Errorf("%q: %d %s", contentType, got.status, got.body)
				}
				if c := s.Counters(); c.Refused != 1 || c.OtherGrants != 1 || c.Logins != 0 {
					t.Errorf("%q: %+v", contentType, c)
				}
			}
		})
	}
}

func TestMissingAndUnknownGrantsAreBadRequests(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p)
			for _, pairs := range [][]string{
				{"username=x", "password=y"},
				{"grant_type=client_credentials"},
				{"grant_type=password", "username=x"},
				{"grant_type=password", "password=x"},
				{"grant_type=refresh_token"},
				{"grant_type=mfa", "mfa_code=123456"},
				{"grant_type=mfa", "mfa_token=x"},
			} {
				if got := grant(s, pairs...); got.status != 400 {
					t.Errorf("%v: %d %s", pairs, got.status, got.body)
				}
			}
		})
	}
}

func TestMFA(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			if products[p].dialect.challenge == nil {
				return // no MFA grant
			}
			s := unlimited(p, fixed())
			mfaToken := challenged(t, s)
			if got := grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code=000000"); got.status == 200 {
				t.Fatal("a wrong code was accepted")
			}
			got := grant(s, "grant_type=Mfa", "mfa_token="+mfaToken, "mfa_code="+codeAt(t, epoch))
			if got.status != 200 || status(s, got.text(t, "access_token")) != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if again := grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+codeAt(t, epoch.Add(30*time.Second))); again.status == 200 {
				t.Error("an mfa_token worked twice")
			}

			mfaToken = challenged(t, s)
			for _, at := range []time.Time{epoch, epoch.Add(-30 * time.Second)} {
				if grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+codeAt(t, at)).status == 200 {
					t.Errorf("the code of %v worked after one of %v", at, epoch)
				}
			}
			if got := grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+codeAt(t, epoch.Add(30*time.Second))); got.status != 200 {
				t.Errorf("a clock 30 s ahead: %d %s", got.status, got.body)
			}

			mfaToken = challenged(t, s)
			if grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+codeAt(t, epoch.Add(90*time.Second))).status == 200 {
				t.Error("a clock 90 s ahead was accepted")
			}
			s.Advance(time.Hour)
			if grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+codeAt(t, epoch.Add(time.Hour))).status == 200 {
				t.Error("an mfa_token outlived its time")
			}
			c := s.Counters()
			if c.Challenges != 3 || c.Logins != 2 || c.DuplicateTOTP != 2 || c.MFAGrants != 8 || c.PasswordGrants != 3 || c.Refused != 6 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestWrongCodesKillTheMFAToken(t *testing.T) {
	s := New(AWS, fixed(), WithMFATries(1))
	mfaToken := challenged(t, s)
	grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code=000000")
	if grant(s, "grant_type=mfa", "mfa_token="+mfaToken, "mfa_code="+codeAt(t, epoch)).status == 200 {
		t.Error("the mfa_token survived")
	}
}

func TestLockout(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p, fixed(), WithLockout(3, time.Minute))
			right := []string{"grant_type=password", "username=" + DefaultUser, "password=" + DefaultPassword}
			for range 3 {
				grant(s, "grant_type=password", "username="+DefaultUser, "password=wrong")
			}
			if grant(s, right...).status == 200 {
				t.Error("a locked account logged in")
			}
			s.Advance(time.Minute)
			if got := grant(s, right...); got.status != 200 {
				t.Errorf("after the window: %d %s", got.status, got.body)
			}
			if c := s.Counters(); c.Locked != 1 || c.Refused != 4 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestLimitsOfTokenRequests(t *testing.T) {
	s := New(VSPC, fixed(), WithTokenLimits(1, 3, 4))
	ask := func() int { return grant(s, "grant_type=password", "username="+DefaultUser, "password=wrong").status }
	for i, step := range []struct {
		after time.Duration
		want  int
	}{
		{0, 400},
		{999 * time.Millisecond, 429},
		{time.Millisecond, 400},
		{time.Second, 400},
		{57 * time.Second, 429},
		{time.Second, 400},
		{time.Minute, 429},
		{58 * time.Minute, 400},
	} {
		s.Advance(step.after)
		if got := ask(); got != step.want {
			t.Errorf("request %d: %d, want %d", i, got, step.want)
		}
	}
	s.Advance(time.Millisecond)
	got := grant(s, "grant_type=password", "username="+DefaultUser, "password=wrong")
	if got.body != `{"errors":[{"type":"transport","code":429,"retryAfter":1}]}` || s.Counters().Throttled != 4 {
		t.Errorf("%s, %+v", got.body, s.Counters())
	}
}

func TestThrottledTokenRequests(t *testing.T) {
	for _, p := range formProfiles() {
		t.Run(string(p), func(t *testing.T) {
			s := unlimited(p, fixed(), WithTokenStatus429(2, 25*time.Second))
			defaultLogin(t, s)
			access, _ := defaultLogin(t, s)
			got := grant(s, "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword)
			if says := got.header.Get("Retry-After") == "25"; got.status != 429 || says == s.product.noRetryAfter {
				t.Fatalf("%d %v", got.status, got.header)
			}
			if p == VSPC && got.body != `{"errors":[{"type":"transport","code":429,"retryAfter":25}]}` {
				t.Error(got.body)
			}
			if status(s, access) != 200 {
				t.Error("protected routes are not throttled")
			}
			s.Advance(25 * time.Second)
			defaultLogin(t, s)
			if c := s.Counters(); c.Throttled != 1 || c.Refused != 1 || c.Logins != 3 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestExpiresInForms(t *testing.T) {
	for form, want := range map[string]string{
		"": `"expires_in":3600`, "number": `"expires_in":3600`, "string": `"expires_in":"3600"`, "-1": `"expires_in":-1`, "null": `"expires_in":null`,
	} {
		got := grant(New(Azure, WithExpiresInAs(form)), "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword)
		if !strings.Contains(got.body, want) {
			t.Errorf("%q: %s", form, got.body)
		}
	}
	got := grant(New(VSPC, WithExpiresInAs("absent")), "grant_type=password", "username="+DefaultUser, "password="+DefaultPassword)
	if strings.Contains(got.body, "expires_in") {
		t.Error(got.body)
	}
}

func TestIssuedListsEverySecret(t *testing.T) {
	s := New(AWS, fixed())
	access, refresh := defaultLogin(t, s)
	mfaToken := challenged(t, s)
	issued := s.Issued()
	for _, secret := range []string{access, refresh, mfaToken} {
		if !slices.Contains(issued, secret) {
			t.Errorf("%s is not listed", secret)
		}
	}
}

func TestVSPCAcceptsAMinuteOfClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{-time.Minute, time.Minute} {
		s := New(VSPC, fixed())
		if got := grant(s, "grant_type=mfa", "mfa_token="+challenged(t, s), "mfa_code="+codeAt(t, epoch.Add(skew))); got.status != 200 {
			t.Errorf("%v: %d %s", skew, got.status, got.body)
		}
	}
}
