package passthrough

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// A request may look for the user before another request has logged it in, and for that
// login when it is over.
func TestARequestThatIsLateForALoginUsesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		emulated := veeamtest.New(veeamtest.VBR13)
		product, _ := veeam.Lookup("vbr")
		server := upstream.NewServer(upstream.ServerOptions{
			Product: product, Transport: emulated.Transport(), State: upstream.NewState(), Log: zap.NewNop(),
			Accounts: []*account.Account{}, Metrics: metrics.New(func() []metrics.Session { return nil }),
			Tries: sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return nil, errors.New("there is no storage") }}),
		})
		address := upstream.Address{Network: "tcp", Address: "vbr01:9419"}
		at := Upstream{Server: server, Address: address, Request: upstream.Request{Journal: journal.Journal{}, Values: func(ctx context.Context) context.Context { return ctx }}, Place: func() upstream.Place {
			return upstream.Place{Address: address, Origin: "https tcp vbr01:9419", BaseURL: "https://vbr01:9419", Host: "vbr01:9419"}
		}}
		users := New()
		login := func() *Login {
			l := users.Read(&veeam.TokenRequest{Grant: veeam.GrantPassword, Username: veeamtest.DefaultUser, Password: secret.New(veeamtest.DefaultPassword)}, "site")
			l.CountBy(ratelimit.New(10), nil)
			return l
		}
		if _, _, err := login().At(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if _, err := login().tryPassword(t.Context(), at); err != nil {
			t.Error(err)
		}
		if c := emulated.Counters(); c.TokenRequests != 1 {
			t.Errorf("%d token requests", c.TokenRequests)
		}
		server.Close()
		server.State.Settle()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
	})
}
