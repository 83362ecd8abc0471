// What a reload changes in sessions that it takes over.

package caddymodule

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestAReloadChangesTheHoldOfARefusedCredential(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		svc := &account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", "wrong")}
		w.start(svc)
		w.demand("503 credential_refused")
		w.reload(&Transport{Accounts: []*account.Account{svc}, Hold: caddy.Duration(20 * time.Minute)})
		for began := time.Now(); time.Since(began) < 15*time.Minute; w.rest(time.Second) {
			w.demand("503 credential_refused")
		}
		if n := w.wire.grants(); n != 2 {
			t.Errorf("%d tries in 15 minutes, with a hold of a minute before the reload and of 20 after it", n)
		}
	})
}

func TestAReloadChangesRefreshBefore(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, []veeamtest.Option{veeamtest.WithAccessLifetime(time.Hour)}, func(w *world) {
		svc := &account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", veeamtest.DefaultPassword)}
		w.start(svc)
		w.demand("200")
		w.reload(&Transport{Accounts: []*account.Account{svc}, RefreshBefore: caddy.Duration(10 * time.Minute)})
		for began := time.Now(); w.wire.grants() < 3 && time.Since(began) < 3*time.Hour; w.rest(10 * time.Second) {
			w.demand("200")
		}
		// The first token is due as it was before.
		if took := time.Since(w.server.Seen()[0].Time); took > time.Hour+53*time.Minute {
			t.Errorf("the second renewal comes %v after the login", took)
		}
	})
}
