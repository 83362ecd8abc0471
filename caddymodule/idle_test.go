// Connections that nobody uses now.

package caddymodule

import (
	"context"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

func TestIdleConnectionsAreKeptAsAGatewayNeedsUnlessTheUserSaysHowMany(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keepAlive *reverseproxy.KeepAlive
		want      int
	}{
		{nil, 1024},
		{&reverseproxy.KeepAlive{MaxIdleConns: 7}, 1024},
		{&reverseproxy.KeepAlive{MaxIdleConnsPerHost: 5}, 5},
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		tr := &Transport{
			Accounts: []*account.Account{{Name: "a", Password: "{env.PASSWORD}"}},
			storage:  inMemory(new(memorystore.Storage)), process: newProcess(),
			HTTPTransport: &reverseproxy.HTTPTransport{TLS: new(reverseproxy.TLSConfig), KeepAlive: c.keepAlive},
		}
		err := tr.Provision(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := tr.HTTPTransport.Transport.MaxIdleConnsPerHost; got != c.want {
			t.Errorf("%+v: %d are kept, want %d", c.keepAlive, got, c.want)
		}
		if err := tr.Cleanup(); err != nil {
			t.Error(err)
		}
		cancel()
	}
}
