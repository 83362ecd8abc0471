// Watching: which files, when, and what it costs.

package caddymodule

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestFilesAreWatchedWhileThereIsAToken(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		tr := w.start(w.user())
		for range 3 {
			w.rest(time.Minute)
			if tr.server.Inspect().Watching {
				t.Error("before the first request, or without a token")
			}
			w.demand("200")
			w.rest(time.Minute)
			if !tr.server.Inspect().Watching {
				t.Error("not watched")
			}
			w.rest(time.Hour)
		}
		w.demand("200")
		tr.close()
		w.demand("200") // a last one
		w.rest(time.Minute)
		if tr.server.Inspect().Watching {
			t.Error("watched after the end")
		}
	})
}

func TestAnAccountWithoutFilesIsNotWatched(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		tr := w.start(&account.Account{Name: veeamtest.DefaultUser, Password: "{env.VEEAM_AUTH_TEST_PASSWORD}"})
		w.demand("200")
		if tr.server.Inspect().Watching {
			t.Error("watched")
		}
	})
}

func TestTheFilesOfAnAccountAreFound(t *testing.T) {
	t.Setenv("VEEAM_AUTH_TEST_DIR", "/run/secrets")
	for _, tc := range []struct {
		account account.Account
		want    []string
	}{
		{account.Account{Password: "plain"}, nil},
		{account.Account{Password: "{env.P}"}, nil},
		{account.Account{Password: "{file./a}", TOTPSecret: "{file./b}", NextPassword: "{file./c}"}, []string{"/a", "/b"}},
		{account.Account{Username: "{file./a}", Password: "{file./a}"}, []string{"/a"}},
		{account.Account{Code: "{file../code}"}, []string{"./code"}},
		{account.Account{Key: "/k", KeyPassphrase: "{file./p}", PublicKey: "{env.VEEAM_AUTH_TEST_DIR}/pub"}, []string{"/k", "/p", "/run/secrets/pub"}},
		{account.Account{Password: "x{file./a}y{file./b}"}, []string{"/a", "/b"}},
	} {
		got := ready(&tc.account).Files()
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%+v: %q, want %q", tc.account, got, tc.want)
		}
	}
}

func TestEveryKindOfFileIsWatched(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *world){
		"totp_secret": func(w *world) { w.secret("seed", "NEWSEEDNEWSEED22") },
		"password":    func(w *world) { w.secret("secret", veeamtest.DefaultPassword+"-2") },
	} {
		inWorld(t, veeamtest.Azure, nil, func(w *world) {
			tr := w.start(&account.Account{
				Name: veeamtest.DefaultUser, Password: w.secret("secret", veeamtest.DefaultPassword), TOTPSecret: w.secret("seed", "OLDSEEDOLDSEED2222"),
			})
			w.demand("200")
			change(w)
			w.rest(2 * time.Second)
			if n := w.wire.grants(); n != 2 {
				t.Errorf("%s: %d token requests", name, n)
			}
			tr.close()
		})
	}
}
