// Refused credentials: sent once, named in the answer, and forgotten as soon as
// the secret has been replaced.

package sidecar

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestARefusedPasswordIsSentOnceAndItsReplacementIsPickedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		s := w.add(p)
		s.Account = "account " + veeamtest.DefaultUser + " " + s.secret("password", "wrong-pass-0")
	}
	w.start()
	for _, s := range w.sites {
		t.Run(s.Product, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			flood(t, 100, 20, func(int) error {
				a, err := s.client.try(http.MethodGet, s.protected, nil)
				if err == nil && a.status != http.StatusServiceUnavailable {
					err = fmt.Errorf("%v", a)
				}
				return err
			})
			s.stillHeld(t, began)
			s.client.attempt(t).refusedAs(t, s.product, true, http.StatusServiceUnavailable)
			if c := s.Server.Counters(); c.TokenRequests != 1 || c.Refused != 1 {
				t.Errorf("%d token requests for a wrong password", c.TokenRequests)
			}
			for i, replace := range []func(path, text string) error{byWriting, byRenaming, bySwappingALink, bySwappingALink} {
				password := fmt.Sprintf("right-pass-%d", i+1)
				w.leaks.keep(password)
				s.Server.SetPassword(veeamtest.DefaultUser, password)
				s.Server.RevokeAll()
				s.stillHeld(t, began)
				if err := replace(s.file("password"), password+"\n"); err != nil {
					t.Fatal(err)
				}
				harness.Eventually(t, "the new password is used", func() bool {
					return s.client.get(t, s.protected).status == http.StatusOK
				})
			}
			// One refusal and one login for each of the four.
			if c := s.Server.Counters(); c.TokenRequests != 8 || c.Refused != 4 || c.Logins != 4 {
				t.Errorf("%d token requests, %d refused, %d logins", c.TokenRequests, c.Refused, c.Logins)
			}
			if !strings.Contains(w.svclog(), "Login failed for user 'svc-monitor'.") {
				t.Error("the log does not say that the login failed")
			}
		})
	}
}

// stillHeld checks that a request is refused because the credential is, which lasts a
// minute at least. It was not refused before began.
func (s *site) stillHeld(t *testing.T, began time.Time) {
	t.Helper()
	a := s.client.get(t, s.protected)
	a.refusedAs(t, s.product, false, http.StatusServiceUnavailable)
	least := 60 - int(time.Since(began).Seconds()) - 1
	if seconds := a.retryAfter(t); seconds < least || seconds > 1800 {
		t.Errorf("%s: Retry-After %d", s.Name, seconds)
	}
}

func byWriting(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

func byRenaming(path, text string) error {
	if err := byWriting(path+".new", text); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// bySwappingALink is how an orchestrator replaces a mounted secret.
func bySwappingALink(path, text string) error {
	target := fmt.Sprintf("%s.%d", path, time.Now().UnixNano())
	if err := byWriting(target, text); err != nil {
		return err
	}
	if err := os.Symlink(target, path+".link"); err != nil {
		return err
	}
	return os.Rename(path+".link", path)
}

func TestAnMFAChallengeThatCannotBeAnsweredSaysWhatToConfigure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range which(withCodes) {
		s := w.add(p)
		s.Account = "account " + veeamtest.DefaultMFAUser + " " + s.secret("mfa_password", veeamtest.DefaultMFAPassword)
	}
	w.start()
	for _, s := range w.sites {
		for range 3 {
			a := s.client.get(t, s.protected)
			a.refusedAs(t, s.product, false, http.StatusServiceUnavailable)
			if a.retryAfter(t); !strings.Contains(string(a.body), "code_needed") {
				t.Errorf("%v", a)
			}
		}
		if c := s.Server.Counters(); c.TokenRequests != 1 || c.Challenges != 1 {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
	if n := strings.Count(w.svclog(), "set totp_secret"); n < len(w.sites) {
		t.Errorf("totp_secret is named %d times in the log", n)
	}
}

func TestAnAccountOfVBRWithMFAIsToldToBecomeAServiceAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.add(vbr, veeamtest.WithAccount(veeamtest.Account{Username: "svc-person", Password: "person-pass-1", MFA: true}))
	s.Account = "account svc-person " + s.secret("password", "person-pass-1")
	w.start()
	s.client.get(t, s.protected).refusedAs(t, s.product, false, http.StatusServiceUnavailable)
	if !strings.Contains(w.svclog(), "mark the user as a service account") {
		t.Errorf("no hint in the log: %s", w.svclog())
	}
	if c := s.Server.Counters(); c.TokenRequests != 1 {
		t.Errorf("%+v", c)
	}
}

func TestASecretThatCannotBeReadIsNamedInTheLogOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.add(vbr)
	missing := s.file("not_there")
	s.Account = "account " + veeamtest.DefaultUser + " {file." + missing + "}"
	w.start()
	a := s.client.get(t, s.protected)
	a.refusedAs(t, s.product, false, http.StatusServiceUnavailable)
	if strings.Contains(string(a.body), missing) {
		t.Errorf("the client learns the path: %v", a)
	}
	if !strings.Contains(w.svclog(), "account svc-monitor: option password, {file."+missing+"} cannot be used: no such file or directory") {
		t.Errorf("not in the log: %s", w.svclog())
	}
	if err := byRenaming(missing, veeamtest.DefaultPassword+"\n"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the file is read", func() bool { return s.client.get(t, s.protected).status == http.StatusOK })
}
