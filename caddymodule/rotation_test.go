// A changed password while the old session works: tried once, in the background,
// and used when the server has accepted it.

package caddymodule

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// changing is a world whose account has its password in the file "secret".
func changing(t *testing.T, profile veeamtest.Profile, test func(w *world)) {
	t.Helper()
	inWorld(t, profile, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", veeamtest.DefaultPassword)})
		w.demand("200")
		test(w)
	})
}

// tried demands that the server has got so many logins, good and refused.
func (w *world) tried(logins, refused int) {
	w.Helper()
	c := w.server.Counters()
	if int(c.Logins) != logins || int(c.PasswordGrants-c.Logins) != refused {
		w.Errorf("%d logins and %d refusals, want %d and %d\n%s", c.Logins, c.PasswordGrants-c.Logins, logins, refused, w.said())
	}
}

// serves demands good answers for some time.
func (w *world) serves(during, every time.Duration) {
	w.Helper()
	for start := time.Now(); time.Since(start) < during; w.rest(every) {
		w.demand("200")
	}
}

// secrets counts the changed secrets of the account with this result.
func (w *world) secrets(result string) float64 {
	return float64(w.metrics.Secrets.WithLabelValues("vbr", veeamtest.DefaultUser, result).Load())
}

func TestAChangedPasswordTakesOverWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		changing(t, profile, func(w *world) {
			before := w.tr.server.InUse("")
			for i, password := range []string{"changed-1", "changed-no-2", "changed-number-3"} {
				w.server.SetPassword(veeamtest.DefaultUser, password)
				w.secret("secret", password)
				w.serves(2*time.Second, 100*time.Millisecond)
				w.tried(i+2, 0)
				if after := w.tr.server.InUse(""); after == before {
					t.Errorf("%s: requests use the session so far", profile)
				} else {
					before = after
				}
			}
			w.rest(upstream.RetireAfter)
			switch {
			case profile == veeamtest.ONE: // a login has ended the session before it
				w.lives(1)
			case slices.Contains(endable, profile):
				w.over(3, 1)
			}
			if n := strings.Count(w.said(), "The changed secret of account 'svc-monitor' (password) is accepted and in use."); n != 3 {
				t.Errorf("said %d times: %s", n, w.said())
			}
		})
	}
}

func TestARefusedPasswordIsTriedOnceAndTheSessionGoesOn(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		w.secret("secret", "wrong")
		w.serves(2*time.Hour, 20*time.Second)
		w.tried(1, 1) // and eight renewals
		if n := strings.Count(w.said(), "The server refuses the changed secret of account 'svc-monitor' (password)."); n != 1 {
			t.Errorf("said %d times: %s", n, w.said())
		}
		w.server.SetPassword(veeamtest.DefaultUser, "right again")
		w.secret("secret", "right again")
		w.serves(2*time.Second, 100*time.Millisecond)
		w.tried(2, 1)
		if w.secrets(metrics.SecretRefused) != 1 || w.secrets(metrics.SecretAccepted) != 1 {
			t.Errorf("counted %v and %v", w.secrets(metrics.SecretRefused), w.secrets(metrics.SecretAccepted))
		}
	})
}

func TestAPasswordThatIsPutBackChangesNothing(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		session := w.tr.server.InUse("")
		w.secret("secret", "wrong")
		w.serves(time.Minute, time.Second)
		w.secret("secret", veeamtest.DefaultPassword)
		w.serves(time.Minute, time.Second)
		w.tried(1, 1)
		w.server.RevokeAll()
		w.rest(veryOld)
		w.demand("200")
		w.tried(2, 1)
		if w.tr.server.InUse("") != session {
			t.Error("it is another session")
		}
	})
}

func TestAWrongPasswordThatComesAndGoesIsSentOncePerHold(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		for range 15 { // each a minute: one try, then after 1, 2, 4 and 8 minutes
			w.secret("secret", "wrong")
			w.serves(30*time.Second, time.Second)
			w.secret("secret", veeamtest.DefaultPassword)
			w.serves(30*time.Second, time.Second)
		}
		c := w.server.Counters()
		if refused := c.PasswordGrants - c.Logins; refused < 2 || refused > 5 {
			t.Errorf("sent %d times in a quarter of an hour", refused)
		}
		w.server.SetPassword(veeamtest.DefaultUser, "wrong")
		w.secret("secret", "wrong")
		w.serves(36*time.Minute, time.Second)
		if c := w.server.Counters(); c.Logins != 2 {
			t.Error("it is not used when it is right")
		}
	})
}

// veryOld is longer than refresh tokens live.
const veryOld = 30 * 24 * time.Hour

func TestWhatIsBeingWrittenIsNotTried(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		w.server.SetPassword(veeamtest.DefaultUser, "a password in parts")
		for _, part := range []string{"", "a", "a pass", "", "a password", "a password in", "a password in parts"} {
			w.secret("secret", part)
			w.serves(upstream.WatchEvery, 100*time.Millisecond)
		}
		w.serves(2*time.Second, 100*time.Millisecond)
		w.tried(2, 0)
	})
}

func TestARequestWaitsForAPasswordThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", "wrong")})
		w.demand("503 credential_refused")
		go func() {
			for _, part := range []string{"", veeamtest.DefaultPassword[:3], veeamtest.DefaultPassword[:5], veeamtest.DefaultPassword} {
				w.secret("secret", part)
				time.Sleep(upstream.SettleFor - time.Millisecond)
			}
		}()
		time.Sleep(upstream.SettleFor + time.Millisecond)
		w.demand("200")
		w.tried(1, 1)
	})
}

func TestFilesThatAreGoneOrUnreadableLeaveTheSecretsAsTheyAre(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		path := w.dir + "/secret"
		for _, spoil := range []func() error{
			func() error { return os.Truncate(path, 0) },
			func() error { return os.Remove(path) },
			func() error { return os.Mkdir(path, 0o700) },
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			w.serves(time.Hour, time.Minute)
		}
		w.tried(1, 0)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		w.server.SetPassword(veeamtest.DefaultUser, "back")
		w.secret("secret", "back")
		w.serves(2*time.Second, 100*time.Millisecond)
		w.tried(2, 0)
	})
}

// An account that never had a session has none that could go on.
func TestTheLogTellsSecretsThatWereChangedFromThoseThatNeverWorked(t *testing.T) {
	t.Parallel()
	const utf32 = "\xff\xfe\x00\x00x\x00\x00\x00"
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		const never, goOn = "cannot be used, and it has no session", "the previous ones stay in use"
		w.tr = w.transport(&Transport{Accounts: []*account.Account{
			{Name: veeamtest.DefaultUser, Password: w.secret("works", veeamtest.DefaultPassword)},
			{Name: "other", Username: "other", Password: w.secret("never", utf32)},
		}})
		w.tr.server.Log = w.svc
		w.demand("200")
		if got := w.ask(w.tr, http.MethodGet, "/echo", "other"); got.String() != "503 secret_unreadable" {
			t.Errorf("got %v", got)
		}
		w.rest(10 * time.Second)
		if said := w.said(); !strings.Contains(said, never) || strings.Contains(said, goOn) {
			t.Errorf("of secrets that never worked: %s", said)
		}
		w.secret("works", utf32)
		w.rest(10 * time.Second)
		if said := w.said(); strings.Count(said, never) != 1 || !strings.Contains(said, goOn) {
			t.Errorf("of secrets that were changed: %s", said)
		}
		w.demand("200")
	})
}

func TestAServerThatIsAwayIsNoAnswerAboutAPassword(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		w.server.SetPassword(veeamtest.DefaultUser, "changed")
		w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus})
		w.secret("secret", "changed")
		session := w.tr.server.InUse("")
		w.rest(5 * time.Minute)
		if w.tr.server.InUse("") != session {
			t.Error("requests use a session that there is not")
		}
		if n := w.wire.grants(); n < 10 || n > 40 {
			t.Errorf("%d tries in five minutes", n)
		}
		w.server.ClearFault()
		w.rest(20 * time.Second)
		w.demand("200")
		if w.tr.server.InUse("") == session || w.server.Counters().Logins != 2 {
			t.Error("the changed password is not in use")
		}
	})
}

func TestASessionThatCannotBeRenewedGivesWayToTheNewestSecret(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		w.secret("secret", "wrong")
		w.serves(10*time.Second, time.Second)
		w.tried(1, 1)
		w.server.RevokeAll()
		w.demand("503 credential_refused")
		w.tried(1, 1) // the old password is not sent any more
		w.secret("secret", veeamtest.DefaultPassword)
		w.rest(2 * time.Second)
		w.demand("200")
		w.tried(2, 1)
	})
}

func TestAnExpiredTokenIsRenewedWhereTheChangedPasswordIsRefused(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		w.rest(time.Hour) // nobody watches, nobody asks
		w.secret("secret", "wrong")
		w.demand("200")
		w.serves(time.Minute, time.Second)
		w.tried(1, 1)
	})
}

func TestAnotherUserTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{Username: "other-user", Password: veeamtest.DefaultPassword})}, func(w *world) {
		w.start(&account.Account{Name: "account", Username: w.secret("user", veeamtest.DefaultUser), Password: w.password()})
		if got := w.demand("200"); got.subject != veeamtest.DefaultUser {
			t.Errorf("%q", got.subject)
		}
		w.secret("user", "other-user")
		w.rest(2 * time.Second)
		if got := w.demand("200"); got.subject != "other-user" {
			t.Errorf("%q", got.subject)
		}
	})
}
