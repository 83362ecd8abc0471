// Upstreams whose addresses come and go.

package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// getAt asks the upstream at an address.
func (w *world) getAt(address, account string) received {
	w.Helper()
	state := &requestState{route: veeam.RouteProtected, account: account}
	req := proxied(context.Background(), state)
	req = req.WithContext(dialing.To(req.Context(), reverseproxy.DialInfo{Network: "tcp", Address: address, Host: address}))
	req.Method, req.URL.Path, req.URL.RawQuery = http.MethodGet, w.server.Base()+"/echo", ""
	req.Header.Set("X-Api-Version", "1.1-rev0")
	state.decideFor(req)
	state.journal = journal.New(w.svc, req)
	res, err := w.tr.RoundTrip(req)
	if err != nil {
		w.Fatal(err)
	}
	return w.read(res, state)
}

func TestTheAddressNotUsedForTheLongestTimeMakesRoom(t *testing.T) {
	t.Parallel()
	const more = 20
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		second := unwatched()
		second.Name, second.Username = "second", veeamtest.DefaultUser
		w.start(unwatched(), second)
		want := func(address, account string, logins, logouts int) {
			t.Helper()
			synctest.Wait()
			if got := w.getAt(address, account); got.String() != "200" {
				t.Fatalf("%s: %v %s", address, got, got.body)
			}
			synctest.Wait()
			if c := w.server.Counters(); int(c.Logins) != logins || int(c.Logouts) != logouts {
				t.Fatalf("%s: %d logins and %d logouts, want %d and %d", address, c.Logins, c.Logouts, logins, logouts)
			}
		}
		address := func(i int) string { return fmt.Sprintf("10.0.%d.%d:9419", i/250, i%250) }
		want("static:9419", "", 1, 0)
		want(address(1), "second", 2, 0)
		time.Sleep(time.Second)
		for i := 1; i < upstream.MaxAddresses+more; i++ {
			// The first one to go has sessions of two accounts.
			logouts := max(0, i-upstream.MaxAddresses+1)
			if logouts > 0 {
				logouts++
			}
			want(address(i), "", i+2, logouts)
			if i%10 == 0 { // often enough to stay
				want("static:9419", "", i+2, logouts)
			}
			time.Sleep(time.Second)
		}
		if n := w.tr.server.Inspect().Sources; n != upstream.MaxAddresses {
			t.Errorf("%d slots", n)
		}
		want(address(1), "", upstream.MaxAddresses+more+2, more+2) // back again
	})
}
