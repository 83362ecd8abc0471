// Facts that no document settles, each the one way and the other.

package caddymodule

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestWhatNoDocumentSettlesMakesNoDifference(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]struct {
		profile veeamtest.Profile
		on      veeamtest.Option
		test    func(w *world)
	}{
		"a body of the 401 for a token": {veeamtest.VBR13, veeamtest.WithVBR401Document(), func(w *world) {
			w.demand("200")
			w.rest(time.Minute)
			w.server.RevokeAll()
			w.demand("200")
			if w.wire.grants() != 2 {
				w.Errorf("%d token requests", w.wire.grants())
			}
		}},
		"the body of the 400 for a version": {veeamtest.AWS, veeamtest.WithVersionMissingBody(`{"message":"x"}`), func(w *world) {
			w.demand("200") // the version is named
		}},
		"the user in the answer to a refresh token": {veeamtest.AWS, veeamtest.WithUsernameAfterRefresh(), func(w *world) {
			w.demand("200")
			w.rest(59*time.Minute + 30*time.Second)
			w.demand("200") // and a renewal in the background
			w.rest(time.Second)
			w.demand("200")
			if c := w.server.Counters(); c.Logins != 1 || c.Refreshes != 1 || w.wire.grants() != 2 {
				w.Errorf("%d logins, %d refreshes, %d token requests", c.Logins, c.Refreshes, w.wire.grants())
			}
		}},
		"a refresh ends the access token before": {veeamtest.VBR13, veeamtest.WithRefreshRevokesAccess(), func(w *world) {
			w.demand("200")
			w.rest(14*time.Minute + 30*time.Second)
			w.demand("200") // and a renewal in the background
			w.rest(time.Second)
			w.demand("200")
			if c := w.server.Counters(); c.Logins != 1 || w.wire.grants() != 2 {
				w.Errorf("%d logins, %d token requests", c.Logins, w.wire.grants())
			}
		}},
		"a lockout after wrong passwords": {veeamtest.Azure, veeamtest.WithLockout(3, 5*time.Minute), func(w *world) {
			w.server.SetPassword(veeamtest.DefaultUser, "changed")
			for range 100 {
				w.demand("503 credential_refused")
				w.rest(3 * time.Second)
			}
			w.server.SetPassword(veeamtest.DefaultUser, veeamtest.DefaultPassword)
			w.rest(11 * time.Minute) // until a try has come back
			w.demand("200")
		}},
		"reading without the antiforgery cookie": {veeamtest.VB365, veeamtest.WithAntiforgeryReads(), func(w *world) {
			w.demand("200")
			w.server.RevokeAccess()
			w.demand("200") // by a renewal, which has the flag too
			if got := w.ask(w.tr, http.MethodPost, "/echo", ""); got.status != http.StatusOK {
				w.Errorf("%v %s", got, got.body)
			}
		}},
		"the name of the antiforgery cookie": {veeamtest.VB365, veeamtest.WithAntiforgeryCookie("x-csrf"), func(w *world) {
			if got := w.ask(w.tr, http.MethodPost, "/echo", ""); got.status != http.StatusOK || got.header.Get("Set-Cookie") != "" {
				w.Errorf("%v %s", got, got.body)
			}
		}},
		"the user in the answer of version 8": {veeamtest.VB365, veeamtest.WithUsernameInAnswer(), func(w *world) {
			w.demand("200")
			w.rest(time.Hour)
			w.demand("200")
		}},
		"the quota for callers on the server": {veeamtest.VB365, veeamtest.WithLoopbackUnlimited(), func(w *world) {
			w.server.SetPassword(veeamtest.DefaultUser, "changed")
			w.demand("503 credential_refused")
			w.secret("secret", "changed")
			w.rest(2 * time.Second)
			w.demand("200")
		}},
		"a version at the token endpoint": {veeamtest.GCP, veeamtest.WithVersionAtToken(), func(w *world) {
			w.demand("200")
			w.server.RevokeAll()
			w.demand("200")
		}},
		"no logout at Google Cloud": {veeamtest.GCP, veeamtest.WithoutLogout(), func(w *world) {
			w.demand("200")
			began := time.Now()
			w.tr.close()
			if n := w.logouts(); n != 1 || time.Since(began) > time.Second {
				w.Errorf("%d logouts, the exit took %v", n, time.Since(began))
			}
		}},
		"a login without a version at Enterprise Manager": {veeamtest.EM13, veeamtest.WithAnyLogonVersion(), func(w *world) {
			w.demand("200")
			w.server.RevokeAll()
			w.rest(time.Minute)
			w.demand("200")
		}},
		"a session header in any spelling": {veeamtest.EM13, veeamtest.WithAnyHeaderSpelling(), func(w *world) {
			w.demand("200")
			w.tr.close()
			w.over(1, 0)
		}},
		"sessions that end however busy they are": {veeamtest.EM13, veeamtest.WithSessionLifetime(time.Hour), func(w *world) {
			for range 36 { // three hours
				w.demand("200")
				w.rest(5*time.Minute + 7*time.Second)
			}
			if n := w.server.Counters().Logins; n > 4 {
				w.Errorf("%d logins", n)
			}
		}},
		"a bearer where tokens are revoked": {veeamtest.ONE, veeamtest.WithRevokeBearer(), func(w *world) {
			w.demand("200")
			w.tr.close()
			w.over(1, 0)
		}},
		"a token that is revoked alone": {veeamtest.ONE, veeamtest.WithRevokeKeepsRefresh(), func(w *world) {
			w.demand("200")
			w.tr.close()
			w.lives(0) // neither by its access token nor by its refresh token
		}},
		"refresh tokens of Veeam ONE that can be used again": {veeamtest.ONE, veeamtest.WithReusableRefresh(), renewTwice},
		"refresh tokens of VB365 that can be used again":     {veeamtest.VB365, veeamtest.WithReusableRefresh(), renewTwice},
		"a plus sign read as a space": {veeamtest.AWS, veeamtest.WithBarePlus(), func(w *world) {
			w.demand("200")
			for range 20 { // a code without a plus sign is rare
				tr := w.transport(&Transport{Accounts: []*account.Account{{Name: "by", Grant: "authorization_code", Parent: veeamtest.DefaultUser}, w.user()}})
				if got := w.ask(tr, http.MethodGet, "/echo", "by"); got.status != http.StatusOK {
					w.Errorf("%v %s", got, got.body)
				}
				tr.close()
			}
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			for _, options := range [][]veeamtest.Option{nil, {r.on}} {
				inWorld(t, r.profile, options, func(w *world) {
					w.start(w.user())
					r.test(w)
				})
			}
		})
	}
}

// renewTwice has a session last for as long as three access tokens.
func renewTwice(w *world) {
	w.demand("200")
	for range 2 {
		w.rest(59*time.Minute + 30*time.Second)
		w.demand("200") // at VB365 with a renewal in the background
		w.rest(time.Second)
		w.demand("200")
	}
	if c := w.server.Counters(); c.Logins != 1 || c.Refreshes != 2 || c.Refused != 0 {
		w.Errorf("%d logins, %d refreshes, %d refusals", c.Logins, c.Refreshes, c.Refused)
	}
}

// Each option of the emulator is used where the product meets it, not only by the
// emulator's own tests.
func TestEverySwitchOfTheEmulatorMeetsTheProduct(t *testing.T) {
	t.Parallel()
	var text []byte
	emulator, err := filepath.Glob("../test/veeamtest/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range emulator {
		part, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "../internal/veeam/*_test.go", "../test/*/*.go", "../test/e2e/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.Contains(path, "veeamtest") {
				continue
			}
			part, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(part)
		}
	}
	switches := regexp.MustCompile(`(?m)^func (With\w+)\(`).FindAllSubmatch(text, -1)
	if len(switches) < 30 {
		t.Errorf("%d switches found", len(switches))
	}
	for _, s := range switches {
		if name := string(s[1]); name == "WithAddr" || name == "WithLog" {
			continue // where it listens and what it writes are no facts about servers
		}
		if name := string(s[1]); name == "WithPlugInTokens" || name == "WithPlugInPage" {
			continue // plug-ins are not logged in to
		}
		if !strings.Contains(tests.String(), "veeamtest."+string(s[1])+"(") {
			t.Errorf("no test uses %s", s[1])
		}
	}
}
