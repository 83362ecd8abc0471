// next_password: when it is tried, what comes of it, and what the server sees of
// two wrong passwords.

package caddymodule

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// rotating is a world whose account has a password in the file "secret" and
// another one in "next".
func rotating(t *testing.T, password, next string, test func(w *world)) {
	t.Helper()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(w.rotated(w.secret("secret", password), w.secret("next", next)))
		test(w)
	})
}

func (w *world) rotated(password, next string) *account.Account {
	return &account.Account{Name: veeamtest.DefaultUser, Password: password, NextPassword: next}
}

// nextInUse is what the gauge says.
func (w *world) nextInUse() bool {
	for _, s := range w.State.Live() {
		if s.Next {
			return true
		}
	}
	return false
}

func TestTheNextPasswordIsUsedWhenThePasswordIsRefused(t *testing.T) {
	t.Parallel()
	rotating(t, "outdated", veeamtest.DefaultPassword, func(w *world) {
		for range 20 {
			w.demand("200")
			w.rest(time.Hour) // each time a login or a renewal
		}
		w.tried(1, 1)
		w.server.RevokeAll()
		w.demand("200")
		w.tried(2, 1)
		if !w.nextInUse() || w.secrets(metrics.SecretNextAccepted) != 1 {
			t.Errorf("%v, %v", w.nextInUse(), w.secrets(metrics.SecretNextAccepted))
		}
		if n := strings.Count(w.said(), "The password of account 'svc-monitor' is refused, next_password is in use."); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestTheNextPasswordIsNotSentWhileThePasswordWorks(t *testing.T) {
	t.Parallel()
	rotating(t, veeamtest.DefaultPassword, "not valid yet", func(w *world) {
		for _, next := range []string{"not valid either", "nor this one", ""} {
			w.serves(time.Hour, time.Minute)
			w.secret("next", next)
		}
		w.rest(veryOld)
		w.demand("200")
		if err := os.Remove(w.dir + "/next"); err != nil {
			t.Fatal(err)
		}
		w.serves(time.Hour, time.Minute)
		w.tried(2, 0)
		if w.nextInUse() {
			t.Error("it is in use")
		}
	})
}

func TestARotationCostsOneRefusalAndOneLogin(t *testing.T) {
	t.Parallel()
	rotating(t, veeamtest.DefaultPassword, "the next one", func(w *world) {
		w.demand("200")
		w.server.SetPassword(veeamtest.DefaultUser, "the next one")
		w.serves(time.Hour, time.Minute) // by renewals
		w.tried(1, 0)
		w.server.RevokeAll()
		w.demand("200")
		w.tried(2, 1)
		session := w.tr.server.InUse("")

		for range 3 { // in the middle of it
			w.rest(10 * time.Minute)
			w.reload(&Transport{Accounts: []*account.Account{w.rotated("{file."+w.dir+"/secret}", "{file."+w.dir+"/next}")}})
			w.demand("200")
		}
		if !w.nextInUse() {
			t.Error("next_password is not in use")
		}
		// Moved to password, by the file and by the configuration.
		w.secret("secret", "the next one")
		w.serves(5*time.Second, time.Second)
		if w.nextInUse() {
			t.Error("next_password is in use")
		}
		w.reload(&Transport{Accounts: []*account.Account{w.rotated("{file."+w.dir+"/next}", "")}})
		w.serves(5*time.Second, time.Second)
		w.tried(2, 1)
		if w.tr.server.InUse("") != session {
			t.Error("the session is another one")
		}
		w.rest(upstream.InheritFor)
		if c := w.server.Counters(); c.Logouts != 0 || c.LiveSessions != 1 {
			t.Errorf("%d logouts, %d sessions live", c.Logouts, c.LiveSessions)
		}
	})
}

func TestAThirdPasswordTakesOverFromTheNextOne(t *testing.T) {
	t.Parallel()
	rotating(t, "outdated", veeamtest.DefaultPassword, func(w *world) {
		w.demand("200")
		w.server.SetPassword(veeamtest.DefaultUser, "third")
		w.secret("secret", "third")
		w.serves(2*time.Second, 100*time.Millisecond)
		w.rest(upstream.RetireAfter)
		w.over(1, 1)
		w.tried(2, 1)
		if w.nextInUse() {
			t.Error("it is in use still")
		}
	})
}

func TestANextPasswordIsUsedAsSoonAsItIsThere(t *testing.T) {
	t.Parallel()
	rotating(t, "outdated", "wrong", func(w *world) {
		w.demand("503 credential_refused")
		w.tried(0, 2)
		w.secret("next", veeamtest.DefaultPassword)
		w.rest(time.Second)
		w.demand("200")
		w.tried(1, 2)
	})
	inWorld(t, veeamtest.VBR13, nil, func(w *world) { // a file that is missing at first
		w.start(w.rotated(w.secret("secret", "outdated"), "{file."+w.dir+"/next}"))
		w.demand("503 credential_refused")
		w.tried(0, 1)
		w.secret("next", veeamtest.DefaultPassword)
		w.demand("200")
		w.tried(1, 1)
	})
}

func TestTwoWrongPasswordsAreSentOnceEachInFiveMinutes(t *testing.T) {
	t.Parallel()
	rotating(t, "wrong", "wrong as well", func(w *world) {
		for start := time.Now(); time.Since(start) < 5*time.Minute; w.rest(time.Second) {
			if got := w.demand("503 credential_refused"); got.header.Get("Retry-After") == "" {
				t.Fatal("no Retry-After")
			}
		}
		if n := w.wire.grants(); n != 2 {
			t.Errorf("sent %d times", n)
		}
		if w.secrets(metrics.SecretNextRefused) != 1 || strings.Count(w.said(), "The server refuses next_password of account 'svc-monitor'") != 1 {
			t.Errorf("counted %v: %s", w.secrets(metrics.SecretNextRefused), w.said())
		}
		for start := time.Now(); time.Since(start) < 2*time.Hour; w.rest(20 * time.Second) {
			w.demand("503 credential_refused")
		}
		if n := w.wire.grants(); n > 14 {
			t.Errorf("sent %d times in two hours", n)
		} else {
			t.Logf("sent %d times in two hours", n)
		}
	})
}

func TestTwoWrongPasswordsAreSentOnceEachInTenMinutesByAllProcessesTogether(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		_, key := newKeyFile(w)
		storage := fileStorage(t.TempDir())
		password, next := w.secret("secret", "wrong"), w.secret("next", "wrong as well")
		process := func() *Transport {
			return w.transport(&Transport{
				Accounts: []*account.Account{w.rotated(password, next)},
				Cache:    &records.Cache{EncryptionKey: key, StorageRaw: storage},
			})
		}
		start := time.Now()
		for time.Since(start) < 10*time.Minute-30*time.Second { // each one is started, asked for half a minute and ended
			tr := process()
			for range 15 {
				if got := w.ask(tr, http.MethodGet, "/echo", ""); got.status != http.StatusServiceUnavailable {
					t.Fatalf("%v", got)
				}
				w.rest(2 * time.Second)
			}
			tr.close()
		}
		if n := w.wire.grants(); n != 2 {
			t.Errorf("sent %d times in %v", n, time.Since(start))
		}
		w.rest(locksFor)
	})
}

func TestAProcessThatStartsInARotationGoesOnWithTheNextPassword(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		_, key := newKeyFile(w)
		storage := fileStorage(t.TempDir())
		for range 4 {
			tr := w.transport(&Transport{
				Accounts: []*account.Account{w.rotated(w.secret("secret", "outdated"), w.secret("next", veeamtest.DefaultPassword))},
				Cache:    &records.Cache{EncryptionKey: key, StorageRaw: storage},
			})
			if got := w.ask(tr, http.MethodGet, "/echo", ""); got.status != http.StatusOK {
				t.Fatalf("%v", got)
			}
			tr.close()
		}
		w.tried(1, 1)
		w.rest(locksFor)
	})
}

func TestANextPasswordInPlainIsWarnedOf(t *testing.T) {
	t.Parallel()
	a := &account.Account{Name: "a", Password: "{env.P}", NextPassword: "in plain"}
	if plain := a.PlainSecrets(); len(plain) != 1 || plain[0] != "next_password" {
		t.Errorf("%q", plain)
	}
}
