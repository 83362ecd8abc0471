// Tests of logins with sealed secrets.

package caddymodule

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestASealedTOTPSecretServesALogin(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		path, key := newKeyFile(w)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := sealed.ReadKeyset(string(text))
		if err != nil {
			t.Fatal(err)
		}
		sealed := sealedText(w, account.Seal{Product: "azure", Account: "mfa"}, keys, "totp_secret", veeamtest.DefaultTOTPSecret)
		sealedAccount := func(name, totp string) *account.Account {
			return &account.Account{
				Name: name, Username: veeamtest.DefaultMFAUser, TOTPSecret: totp,
				Password: w.secret("secret", veeamtest.DefaultMFAPassword),
			}
		}
		cache := func() *records.Cache {
			return &records.Cache{EncryptionKey: key, StorageRaw: fileStorage(w.dir + "/storage")}
		}
		totp := w.secret("totp", sealed+"\n")
		w.tr = w.transport(&Transport{
			Accounts: []*account.Account{sealedAccount("mfa", totp), sealedAccount("moved", totp), sealedAccount("inline", sealed)}, Cache: cache(),
		})
		w.demand("200")

		// Old keys open.
		rotated, err := keys.Rotate()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := rotated.Text(); err != nil || os.WriteFile(path, []byte(text), 0o600) != nil {
			t.Fatal(err)
		}
		w.server.RevokeAccess()
		w.rest(time.Minute)
		w.demand("200")

		// Nothing is sent for an account that it was not sealed for.
		before := w.wire.grants()
		for _, name := range []string{"moved", "inline"} {
			if got := w.ask(w.tr, http.MethodGet, "/echo", name); got.String() != "503 secret_unreadable" {
				t.Errorf("%s: %v", name, got)
			}
			if want := "account " + name + ": option totp_secret, " + account.ErrNotOpened.Error(); !strings.Contains(w.said(), want) {
				t.Errorf("the log does not say %q:\n%s", want, w.said())
			}
		}
		without := w.transport(&Transport{Accounts: []*account.Account{sealedAccount("mfa", totp)}})
		if got := w.ask(without, http.MethodGet, "/echo", ""); got.String() != "503 secret_unreadable" {
			t.Errorf("without a cache: %v", got)
		}
		without.close()
		if err := os.WriteFile(path, []byte("no keyset"), 0o600); err != nil {
			t.Fatal(err)
		}
		unreadable := w.transport(&Transport{Accounts: []*account.Account{sealedAccount("mfa", totp)}, Cache: cache()})
		if got := w.ask(unreadable, http.MethodGet, "/echo", ""); got.String() != "503 secret_unreadable" {
			t.Errorf("without a key: %v", got)
		}
		unreadable.close()
		if after := w.wire.grants(); after != before {
			t.Errorf("%d token requests were sent", after-before)
		}
		for _, want := range []string{account.ErrNoCache.Error(), account.ErrCacheKey.Error()} {
			if !strings.Contains(w.said(), want) {
				t.Errorf("the log does not say %q:\n%s", want, w.said())
			}
		}
		for _, secret := range []string{veeamtest.DefaultTOTPSecret, sealed, sealed[len(sealed)-20:]} {
			if strings.Contains(w.said(), secret) {
				t.Errorf("the log shows %q", secret)
			}
		}
		w.tr.close()
		w.tr = nil
		w.rest(locksFor)
	})
}

func TestASealedSecretInTheConfigurationNeedsACache(t *testing.T) {
	t.Parallel()
	const text = account.SealedPrefix + "AAAA"
	for _, profile := range withCodes {
		product := profile.Product()
		tr := &Transport{
			Product: product, InsecureHTTP: true, HTTPTransport: new(reverseproxy.HTTPTransport),
			Accounts: []*account.Account{{Name: "svc", Password: "{env.P}", TOTPSecret: text}},
		}
		err := tr.check()
		if err == nil || !strings.Contains(err.Error(), "account svc: totp_secret is sealed") || strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", product, err)
		}
		tr.Cache = &records.Cache{EncryptionKey: "{env.KEY}"}
		if err := tr.check(); err != nil {
			t.Errorf("%s: %v", product, err)
		}
		if plain := tr.Accounts[0].PlainSecrets(); len(plain) != 0 {
			t.Errorf("%s: %v counts as plain", product, plain)
		}
	}
}
