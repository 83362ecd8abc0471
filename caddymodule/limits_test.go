// Limits that come from JSON, which no directive has read; and who shares one.

package caddymodule

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/policy"
)

func TestAHandlerTakesNoRateThatLimitsNothing(t *testing.T) {
	t.Parallel()
	ctx := provisionContext(t, &caddy.Config{StorageRaw: fileStorage(t.TempDir())})
	h := &Handler{RateLimit: new(ratelimit.PerCaller)}
	if err := h.Provision(ctx); err == nil || !strings.Contains(err.Error(), "rate_limit") {
		t.Error(err)
	}
	_ = h.Cleanup()
}

// A caller without a name uses up the requests of its source, not those of others.
func TestSourcesDoNotShareALimit(t *testing.T) {
	t.Parallel()
	none, err := clients.New(nil, passwords)
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{clients: none, limits: ratelimit.NewCallers(0.01, 1, 0), sources: ratelimit.NewCallers(0.01, 1, 0)}
	loopback, unix := policy.Caller{Name: "loopback", Via: policy.ViaLoopback}, policy.Caller{Name: "unix", Via: policy.ViaUnix}
	from := func(address string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.RemoteAddr = address
		return r
	}
	elsewhere := from("@") // at a unix socket where the user is not known
	elsewhere = elsewhere.WithContext(context.WithValue(elsewhere.Context(), http.LocalAddrContextKey, &net.UnixAddr{Net: "unix"}))
	for _, c := range []struct {
		name   string
		r      *http.Request
		state  requestState
		passes bool
	}{
		{"a stranger", from("192.0.2.7:1"), requestState{}, true},
		{"the same one", from("192.0.2.7:2"), requestState{}, false},
		{"another stranger", from("192.0.2.8:1"), requestState{}, true},
		{"a login", from("192.0.2.9:1"), requestState{login: new(passthrough.Login)}, true},
		{"another login from there", from("192.0.2.9:2"), requestState{login: new(passthrough.Login)}, false},
		{"a local program", from("127.0.0.1:1"), requestState{caller: loopback}, true},
		{"another local program", from("127.0.0.1:2"), requestState{caller: loopback}, false},
		{"this user at a unix socket", overSocket(t), requestState{caller: unix}, true},
		{"it again", overSocket(t), requestState{caller: unix}, false},
		{"somebody at a unix socket", elsewhere, requestState{caller: unix}, runtime.GOOS == "linux"},
	} {
		if _, exceeded := h.enter(c.r, &c.state); c.passes != (exceeded == nil) {
			t.Errorf("%s: %+v", c.name, exceeded)
		}
	}
}
