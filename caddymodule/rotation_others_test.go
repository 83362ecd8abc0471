// A changed password over reloads, sites and replicas, and of secrets that are no
// passwords of the account itself: its parent's, and an API key.

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
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestAReloadKeepsTheSessionWhoseSecretIsReplacedByARefusedOne(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		first := *w.tr.Accounts[0]
		w.secret("secret", "wrong")
		for range 3 { // before the change is noticed, and after
			next := first
			w.reload(&Transport{Accounts: []*account.Account{&next}})
			w.serves(2*time.Minute, time.Second)
		}
		w.tried(1, 1)
		w.server.SetPassword(veeamtest.DefaultUser, "changed again")
		w.secret("secret", "changed again")
		w.reload(&Transport{Accounts: []*account.Account{&first}})
		w.demand("200")
		w.rest(2 * time.Second)
		w.tried(2, 1)
		w.rest(upstream.RetireAfter)
		w.over(1, 1)
	})
}

func TestASiteDoesNotTakeOverTheSessionOfAnotherSitesAccount(t *testing.T) {
	t.Parallel()
	changing(t, veeamtest.VBR13, func(w *world) {
		first := *w.tr.Accounts[0]
		w.reload(&Transport{Accounts: []*account.Account{{Name: first.Name, Password: w.secret("other", "wrong")}}})
		w.demand("503 credential_refused")
	})
}

func TestTwoReplicasTryAChangedPasswordOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		_, text := newKeyFile(w)
		key, err := os.ReadFile(strings.TrimSuffix(strings.TrimPrefix(text, "{file."), "}"))
		if err != nil {
			t.Fatal(err)
		}
		secret, storage := w.secret("secret", veeamtest.DefaultPassword), fileStorage(t.TempDir())
		var replicas []*Transport
		for _, name := range []string{"key1", "key2"} { // by which they do not share their memory
			replicas = append(replicas, w.transport(&Transport{
				Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: secret}},
				Cache:    &records.Cache{EncryptionKey: w.secret(name, string(key)), StorageRaw: storage},
			}))
		}
		serve := func() {
			for range 50 {
				for _, tr := range replicas {
					if got := w.ask(tr, http.MethodGet, "/echo", ""); got.status != http.StatusOK {
						t.Fatalf("%v", got)
					}
				}
				w.rest(100 * time.Millisecond)
			}
		}
		serve()
		w.tried(1, 0)
		w.secret("secret", "wrong")
		serve()
		w.tried(1, 1)
		w.server.SetPassword(veeamtest.DefaultUser, "changed")
		w.secret("secret", "changed")
		serve()
		w.tried(2, 1)
		for _, tr := range replicas {
			tr.close()
		}
		w.rest(locksFor)
	})
}

// locksFor is how long the storage looks after a lock that is given back.
const locksFor = 10 * time.Second

func TestAParentsChangedPasswordIsSentOnceWhereItIsWrong(t *testing.T) {
	t.Parallel()
	const uid = "7d1a3c52-0c1f-4d5e-8a54-3b1f0c9d2e11"
	options := []veeamtest.Option{
		veeamtest.WithAccount(veeamtest.Account{Username: "provider", Password: "provider-pass"}),
		veeamtest.WithAccount(veeamtest.Account{Username: "tenant", Password: "x", UID: uid}),
	}
	inWorld(t, veeamtest.VSPC, options, func(w *world) {
		w.start(&account.Account{Name: "provider", Password: w.secret("secret", "provider-pass")},
			&account.Account{Name: "tenant", Grant: "as", Parent: "provider", UserUID: uid})
		ask := func() {
			for _, account := range []string{"provider", "tenant"} {
				if got := w.ask(w.tr, http.MethodGet, "/echo", account); got.status != http.StatusOK || got.subject != account {
					t.Fatalf("%s: %v %q %s", account, got, got.subject, w.said())
				}
			}
		}
		ask()
		w.secret("secret", "wrong")
		for range 100 {
			ask()
			w.rest(time.Second)
		}
		if c := w.server.Counters(); c.Refused != 1 {
			t.Errorf("sent %d times", c.Refused)
		}
		w.server.SetPassword("provider", "provider changed")
		w.secret("secret", "provider changed")
		w.rest(3 * time.Second)
		ask()
		if c := w.server.Counters(); c.Refused != 1 {
			t.Errorf("sent %d times", c.Refused)
		}
	})
}

func TestAChangedAPIKeyHasToWorkBeforeItIsUsed(t *testing.T) {
	t.Parallel()
	options := []veeamtest.Option{
		veeamtest.WithAPIKey(veeamtest.DefaultUser, "the-first-key", false),
		veeamtest.WithAPIKey(veeamtest.DefaultUser, "the-second-api-key", false),
	}
	inWorld(t, veeamtest.VSPC, options, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Grant: "api_key", Password: w.secret("secret", "the-first-key")})
		w.demand("200")
		first := w.tr.server.InUse("")
		w.secret("secret", "no-key-at-all")
		w.serves(2*time.Minute, time.Second)
		if w.tr.server.InUse("") != first || strings.Count(w.said(), "The server refuses the changed secret") != 1 {
			t.Errorf("a key that is none is in use: %s", w.said())
		}
		w.secret("secret", "the-second-api-key")
		w.serves(3*time.Second, 100*time.Millisecond)
		if w.tr.server.InUse("") == first {
			t.Errorf("the second key is not in use: %s", w.said())
		}
	})
}

func TestALoginThatEndsTheSessionSoFarIsNoticedByNobody(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VSPC, []veeamtest.Option{veeamtest.WithSingleSession()}, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", veeamtest.DefaultPassword)})
		w.demand("200")
		for _, password := range []string{"changed-1", "changed-no-2", "changed-number-3", "changed-for-the-4th-time"} {
			w.server.SetPassword(veeamtest.DefaultUser, password)
			w.secret("secret", password)
			w.serves(3*time.Second, 50*time.Millisecond)
		}
		w.tried(5, 0)
		if strings.Contains(w.said(), "Interference") {
			t.Errorf("it is taken for another program: %s", w.said())
		}
	})
}
