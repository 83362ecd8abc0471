// What only one product has: each of its facts that no document settles, both
// ways.

package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// lastForm is the last token request that the server got.
func (w *world) lastForm() url.Values {
	w.Helper()
	seen := w.server.Seen()
	if len(seen) == 0 {
		w.Fatal("no token request")
	}
	return seen[len(seen)-1].Form
}

func (w *world) password() string { return w.secret("secret", veeamtest.DefaultPassword) }

func TestAnAPIKeyIsABearerAsItIs(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []bool{false, true} {
		inWorld(t, veeamtest.VSPC, []veeamtest.Option{veeamtest.WithAPIKey(veeamtest.DefaultUser, apiKey, readOnly)}, func(w *world) {
			w.start(&account.Account{Name: "svc", Grant: "api_key", Password: apiKey})
			for range 3 {
				w.demand("200")
				w.rest(3 * time.Hour) // longer than any token lives
			}
			want := map[bool]int{false: http.StatusCreated, true: http.StatusForbidden}[readOnly]
			if got := w.ask(w.tr, http.MethodPost, "/execute", ""); got.status != want || got.reason != "" {
				t.Errorf("read-only %t: a write is answered %v", readOnly, got)
			}
			if n := w.wire.grants(); n != 0 {
				t.Errorf("%d token requests", n)
			}
			for _, c := range w.wire.calls() {
				if c.bearer != "Bearer "+apiKey {
					t.Errorf("%s travels with %q", c.path, c.bearer)
				}
			}
		})
	}
	inWorld(t, veeamtest.VSPC, nil, func(w *world) {
		w.start(&account.Account{Name: "svc", Grant: "api_key", Password: w.secret("key", "wrong")})
		for range 5 {
			got := w.demand("503 credential_refused")
			if got.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		if n := len(w.wire.calls()); n != 1 {
			t.Errorf("the wrong key was sent %d times", n)
		}
	})
}

func TestAShortLivedSessionIsAskedForEachTime(t *testing.T) {
	t.Parallel()
	for _, profile := range withShortLife {
		field := "use_short_term_refresh"
		if profile == veeamtest.Azure {
			field = "short_lived_refresh_token"
		}
		for _, short := range []bool{false, true} {
			for _, lifetime := range []time.Duration{15 * time.Minute, time.Hour} { // both are in Azure's documents
				inWorld(t, profile, []veeamtest.Option{veeamtest.WithShortRefreshLifetime(lifetime), veeamtest.WithAccessLifetime(10 * time.Minute)}, func(w *world) {
					w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password(), ShortLived: short})
					for range 4 {
						w.demand("200")
						if got := w.lastForm().Get(field); (got == "true") != short {
							t.Errorf("%s: short_lived %t, sent %q with %s", profile, short, got, w.lastForm().Get("grant_type"))
						}
						w.rest(9*time.Minute + 55*time.Second)
					}
					if w.server.Counters().PasswordGrants != 1 {
						t.Errorf("%d logins", w.server.Counters().PasswordGrants)
					}
					w.rest(2 * time.Hour)
					w.demand("200")
					if relogin := w.server.Counters().PasswordGrants == 2; relogin != short {
						t.Errorf("%s: short_lived %t, a new login after two idle hours: %t", profile, short, relogin)
					}
				})
			}
		}
	}
}

func TestFederatedSecretsOfAzureTravelUnharmed(t *testing.T) {
	t.Parallel()
	for grant, tt := range map[string]struct{ spelled, field, value string }{
		"saml":          {"Saml", "saml_response", veeamtest.AzureSAMLResponse},
		"sso_token":     {"SsoToken", "sso_token", veeamtest.AzureSSOToken},
		"updater_token": {"Updater_token", "updater_token", veeamtest.AzureUpdaterToken},
	} {
		inWorld(t, veeamtest.Azure, nil, func(w *world) {
			w.start(&account.Account{Name: "svc", Grant: grant, Password: w.secret("secret", tt.value)})
			w.demand("200")
			if f := w.lastForm(); f.Get("grant_type") != tt.spelled || f.Get(tt.field) != tt.value {
				t.Errorf("sent %v", f)
			}
		})
	}
}

func TestAUserOfAnIdentityProviderIsNamed(t *testing.T) {
	t.Parallel()
	options := []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{Username: "sso", Password: "p", RedirectTo: "https://idp.test/saml"})}
	inWorld(t, veeamtest.Azure, options, func(w *world) {
		w.start(&account.Account{Name: "sso", Password: w.secret("secret", "p")})
		got := w.demand("503 sso_needed")
		if !strings.Contains(got.body, "identity provider") || !strings.Contains(got.body, "local user") || strings.Contains(got.body, "idp.test") {
			t.Errorf("the client reads %s", got.body)
		}
		w.quiet(59*time.Second, got)
	})
}

func TestACodeOfAWSUnderBothPathsAndWithEveryCharacter(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"authorization_code"}, {"authorizationCode"}, {"authorization_code", "authorizationCode"}} {
		inWorld(t, veeamtest.AWS, []veeamtest.Option{veeamtest.WithCodePaths(names...)}, func(w *world) {
			w.start(&account.Account{Name: "svc", Grant: "authorization_code", Parent: "parent"},
				&account.Account{Name: "parent", Username: veeamtest.DefaultUser, Password: w.password()})
			w.demand("200")
			code := w.lastForm().Get("code")
			if !strings.ContainsAny(code, "+") || strings.Contains(code, " ") {
				t.Errorf("the code arrived as %q", code)
			}
			calls := w.wire.calls()
			if last := calls[len(calls)-2]; last.path != "/api/v1/token" {
				t.Errorf("redeemed at %s", last.path)
			}
		})
	}
}

func TestACodeIsRedeemedOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.AWS, []veeamtest.Option{veeamtest.WithRefreshLifetime(90 * time.Minute)}, func(w *world) {
		row := codeRow("AWS", veeamtest.AWS)
		w.start(row.accounts(w)...)
		w.demand("200")
		w.rest(50 * time.Minute)
		w.demand("200")
		w.rest(9*time.Minute + 30*time.Second)
		w.demand("200") // renewed
		codes := func() (n int) {
			for _, r := range w.server.Seen() {
				if r.Form.Get("code") != "" {
					n++
				}
			}
			return n
		}
		w.rest(24 * time.Hour) // the refresh token has died
		for range 3 {
			got := w.demand("503 credential_refused")
			if !strings.Contains(got.body, "valid for a single login and was used") {
				t.Errorf("the client reads %s", got.body)
			}
			w.rest(time.Hour)
		}
		if n := codes(); n != 1 {
			t.Errorf("the code was sent %d times", n)
		}
		row.right(w) // somebody has made another one
		w.demand("200")
	})
}

func TestVBR13MakesNoCodes(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(&account.Account{Name: "svc", Grant: "authorization_code", Parent: "parent"},
			&account.Account{Name: "parent", Username: veeamtest.DefaultUser, Password: w.password()})
		got := w.demand("502 request_not_understood")
		if !strings.Contains(got.body, "does not support authorization codes: use the grant password") {
			t.Errorf("the client reads %s", got.body)
		}
		if !strings.Contains(w.said(), "does not support authorization codes") {
			t.Errorf("the log says\n%s", w.said())
		}
	})
}

func TestAnAccountOfVBRWithAnotherFactorIsToldApartByItsAdvice(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultMFAUser, Password: w.secret("secret", veeamtest.DefaultMFAPassword)})
		got := w.demand("503 credential_refused")
		for _, text := range []string{got.body, w.said()} {
			if !strings.Contains(text, "service account in Users and Roles") {
				t.Errorf("no advice in %s", text)
			}
		}
		if w.wire.grants() != 1 {
			t.Errorf("%d token requests", w.wire.grants())
		}
	})
}

func TestTwoAccountsWithOneSeedWaitForEachOther(t *testing.T) {
	t.Parallel()
	shared := seed()
	mfa := veeamtest.WithAccount(veeamtest.Account{Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: shared})
	for i, profile := range withCodes {
		inWorld(t, profile, []veeamtest.Option{mfa}, func(w *world) {
			account := func(name string) *account.Account {
				return &account.Account{
					Name: name, Username: veeamtest.DefaultMFAUser, Password: w.secret("secret", veeamtest.DefaultMFAPassword),
					TOTPSecret: w.secret("totp", shared),
				}
			}
			time.Sleep(time.Duration(i) * time.Hour) // codes of its own
			w.start(account("one"), account("two"))
			start := time.Now()
			for _, name := range []string{"one", "two"} {
				if got := w.ask(w.tr, http.MethodGet, "/echo", name); got.status != 200 {
					t.Errorf("%s: %v %s", name, got, got.body)
				}
			}
			if waited := time.Since(start); waited == 0 || waited > 30*time.Second {
				t.Errorf("the second waited for %v", waited)
			}
			if c := w.server.Counters(); c.DuplicateTOTP != 0 || c.Refused != 0 {
				t.Errorf("a code was sent twice: %+v", c)
			}
		})
	}
}

func TestThrottlingHoldsEveryLoginForAsLongAsTheServerSays(t *testing.T) {
	t.Parallel()
	for _, profile := range refreshable { // Enterprise Manager has no such answer
		inWorld(t, profile, []veeamtest.Option{veeamtest.WithTokenStatus429(0, 25*time.Second)}, func(w *world) {
			w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
			got := w.demand("429 throttled")
			wait := "25"
			if profile == veeamtest.VB365 {
				wait = "60" // its own 429 names no time
			}
			if got.header.Get("Retry-After") != wait {
				t.Errorf("%s: Retry-After %q", profile, got.header.Get("Retry-After"))
			}
			if inBody := strings.Contains(got.body, `"retryAfter":25`); inBody != strings.HasPrefix(profile.Product(), "vspc") {
				t.Errorf("%s: the client reads %s", profile, got.body)
			}
			w.quiet(24*time.Second, got)
		})
	}
}

func TestTheServersOwn429ReachesTheClientUnchanged(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
		w.demand("200")
		const body = `{"errors":[{"type":"transport","code":429,"retryAfter":25}]}`
		w.server.SetFault(veeamtest.Fault{On: veeamtest.OnProtected, Kind: veeamtest.FaultStatus, Status: 429, Body: body})
		if got := w.demand("429"); got.body != body || w.wire.grants() != 1 {
			t.Errorf("the client reads %s", got.body)
		}
	})
}
