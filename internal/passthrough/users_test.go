package passthrough

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func TestWhichRequestsAreLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := New()
		pending := &pendingChallenge{account: &veeam.Account{Username: "svc"}, audience: "a", until: time.Now().Add(ChallengeFor)}
		token := secret.New(users.addChallenge(pending))
		read := func(grant veeam.Grant, user, password, code, audience string) bool {
			return users.Read(&veeam.TokenRequest{
				Grant: grant, Username: user, Password: secret.New(password), MFAToken: token, MFACode: secret.New(code),
			}, audience) != nil
		}
		for _, c := range []struct {
			grant                          veeam.Grant
			user, password, code, audience string
			login                          bool
		}{
			{veeam.GrantPassword, "svc", "p", "", "a", true},
			{veeam.GrantPassword, "", "p", "", "a", false},
			{veeam.GrantPassword, "svc", "", "", "a", false},
			{veeam.GrantMFA, "", "", "123456", "a", true},
			{veeam.GrantMFA, "", "", "", "a", false},
			{veeam.GrantMFA, "", "", "123456", "b", false}, // the challenge of another site
			{veeam.GrantRefreshToken, "svc", "p", "", "a", false},
		} {
			if got := read(c.grant, c.user, c.password, c.code, c.audience); got != c.login {
				t.Errorf("%+v: %v", c, got)
			}
		}
		time.Sleep(ChallengeFor)
		synctest.Wait()
		if read(veeam.GrantMFA, "", "", "123456", "a") || users.challenges.Len() != 0 {
			t.Error("a challenge outlives its time")
		}
	})
}

func TestALoginIsValidForADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := New()
		user := &User{id: userID("a", "svc", "p", false), account: &veeam.Account{Username: "svc"}, until: time.Now().Add(loginFor)}
		users.add(user)
		token := user.Token()
		if got := users.Of(token, "svc"); got != user {
			t.Errorf("%+v", got)
		}
		// Another process, or this one after a restart, has the id only.
		if got := New().Of(token, "svc"); got == nil || !got.elsewhere || got.account.Username != "svc" || !got.account.Password.IsZero() {
			t.Errorf("elsewhere: %+v", got)
		}
		for _, text := range []string{"", user.id, user.id + ".", user.id + ".!", "." + token} {
			if got := users.Of(text, "svc"); got != nil {
				t.Errorf("%q: %+v", text, got)
			}
		}
		time.Sleep(loginFor)
		synctest.Wait()
		if users.Of(token, "svc") != nil || New().Of(token, "svc") != nil || users.Len() != 0 {
			t.Error("a login outlives its day")
		}
	})
}

// A login that has another part is another login: none opens the session of another.
func TestEachPartOfALoginTellsItApart(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, id := range []string{
		userID("a", "svc", "p", false), userID("a", "svc", "p", true), userID("a", "svc", "q", false), userID("b", "svc", "p", false),
		userID("a", "sv", "cp", false), userID("a", "svc 1", "p", false), userID("a 3:svc", "", "p", false),
	} {
		if seen[id] {
			t.Errorf("%s twice", id)
		}
		seen[id] = true
	}
	if first, second := userID("a", "svc", "p", false), userID("a", "svc", "p", false); first != second {
		t.Error("the same login has two ids")
	}
}
