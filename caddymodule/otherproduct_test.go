package caddymodule

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestALoginAtAnotherProductIsSaidOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		product string
		profile veeamtest.Profile
		says    string
	}{
		{"vbr", veeamtest.Azure, "set product azure"},
		{"azure", veeamtest.Azure, ""},
		{"vbr", veeamtest.VBR13, ""},
	} {
		inWorld(t, c.profile, nil, func(w *world) {
			tr := w.transport(&Transport{Product: c.product, Accounts: []*account.Account{
				{Name: veeamtest.DefaultUser, Password: w.secret("password", veeamtest.DefaultPassword)},
			}})
			w.tr = tr
			core, logged := observer.New(zap.WarnLevel)
			tr.server.Log = zap.New(core)
			for range 3 {
				res, err := tr.RoundTrip(proxied(context.Background(), &requestState{route: veeam.RouteProtected}))
				if err != nil {
					w.Fatal(err)
				}
				_ = res.Body.Close()
				w.server.RevokeAll()
			}
			n := 0
			for _, line := range logged.All() {
				if strings.Contains(line.Message, "answers the login like") {
					n++
					if c.says == "" || !strings.Contains(line.Message, c.says) {
						w.Errorf("%s at %s: %s", c.product, c.profile, line.Message)
					}
				}
			}
			if want := min(len(c.says), 1); n != want {
				w.Errorf("%s at %s: %d lines", c.product, c.profile, n)
			}
		})
	}
}
