package caddymodule

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// What the caller of a websocket over HTTP/2 or 3 sends ends, too, and not only what it gets.
func TestWhatACallerSendsOverAWebsocketEndsWithItsLogin(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	req := httptest.NewRequest(http.MethodGet, "/api/v3/organizations", strings.NewReader("a message"))
	req.RemoteAddr, req.ProtoMajor, req.Proto = "127.0.0.1:1", 3, "HTTP/3.0"
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	req.Host = "localhost"
	caller, refusal := c.handler.identify(prepared(req), veeam.RouteToken, "")
	if refusal != nil {
		t.Fatal(refusal.Reason)
	}
	pair, err := c.handler.issuer.Issue(t.Context(), c.handler.subjectOf(req, &caller), c.handler.audience(req), 0)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := c.handler.issuer.Check(t.Context(), pair.Access, c.handler.audience(req))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+pair.Access)
	read := false
	err = c.handler.ServeHTTP(httptest.NewRecorder(), prepared(req), caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		read = true
		c.handler.issuer.End(sub.Client, sub.Family)
		if text, err := io.ReadAll(r.Body); len(text) > 0 || !errors.Is(err, issuer.ErrEnded) {
			t.Errorf("%q, %v", text, err)
		}
		return nil
	}))
	if err != nil || !read {
		t.Error(err, read)
	}
}

// A configuration that is refused ends nobody's rights: what it has not counted, it does not
// give back.
func TestAConfigurationThatFailsCountsNoClient(t *testing.T) {
	t.Parallel()
	const name = "client-of-a-configuration-that-fails"
	config := func(approvals string) *caddy.Config {
		return &caddy.Config{AppsRaw: caddy.ModuleMap{"http": json.RawMessage(`{"servers":{"a":{"listen":["127.0.0.1:0"],"routes":[{"handle":[
			{"handler":"veeam_auth","clients":[{"name":"` + name + `","token_lifetime":"1h"}]` + approvals + `},
			{"handler":"reverse_proxy","transport":{"protocol":"veeam_auth","tls":{},"accounts":[{"name":"svc","password":"{env.P}"}]},"upstreams":[{"dial":"vbr01:9419"}]}]}]}}}`)}}
	}
	tokenHolders.Enter(name) // by the configuration that runs
	defer tokenHolders.Leave(name)
	for range 3 {
		if err := validate(config(`,"approvals":{"wait":"1x"}`)); err == nil {
			t.Error("it does not fail")
		}
		if err := validate(config("")); err != nil {
			t.Error(err)
		}
		if !tokenHolders.Configured(name) {
			t.Fatal("the client of the configuration that runs is not known any more")
		}
	}
}
