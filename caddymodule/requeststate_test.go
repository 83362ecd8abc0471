// What the handler has decided stays as it is while the transport works.

package caddymodule

import (
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/passthrough"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// decidedPart is a copy of all that the handler has decided, with what it points to.
func decidedPart(state *requestState) any {
	part := struct {
		requestState
		Ambiguous veeam.Refusal
		User      passthrough.User
		Login     passthrough.Login
		answers   bool
	}{requestState: *state, answers: state.answer != nil}
	part.answer, part.found, part.dials = nil, nil, 0
	if state.ambiguous != nil {
		part.Ambiguous = *state.ambiguous
	}
	if state.user != nil {
		part.User = *state.user
	}
	if state.login != nil {
		part.Login = *state.login
	}
	return part
}

// sendDecided has the transport send a request, and checks that it leaves what was
// decided.
func sendDecided(tb testing.TB, tr *Transport, req *http.Request) (*http.Response, error) {
	tb.Helper()
	state := stateOf(req.Context())
	before := decidedPart(state)
	res, err := tr.RoundTrip(req)
	if after := decidedPart(state); !reflect.DeepEqual(before, after) {
		tb.Errorf("the transport has changed what was decided:\n%+v\n%+v", before, after)
	}
	return res, err
}

func TestRequestState_StaysAsDecidedOnEveryRoute(t *testing.T) {
	t.Parallel()
	withPassthrough(t, veeamtest.Azure, []veeamtest.Option{veeamtest.WithMFATries(10)}, func(g *passthroughSite) {
		g.tr.close()
		seen := make(map[string]string)
		send := func(name string, state *requestState, change func(*http.Request)) {
			g.Helper()
			req := proxied(g.Context(), state)
			req.URL.Path, req.URL.RawQuery = g.server.Base()+"/echo", ""
			state.decideFor(req)
			if change != nil {
				change(req)
			}
			res, err := sendDecided(g, g.tr, req)
			if err != nil {
				g.Fatal(name, err)
			}
			seen[name] = g.read(res, state).String()
		}
		g.tr = g.transport(&Transport{Passthrough: true})
		send("without an account", &requestState{route: veeam.RouteProtected}, nil)
		g.tr.close()
		wrong := &account.Account{Name: "wrong", Username: "nobody", Password: "wrong"}
		g.tr = g.transport(&Transport{Passthrough: true, Accounts: []*account.Account{g.user(), wrong}})
		send("cold", &requestState{route: veeam.RouteProtected}, nil)
		send("cached", &requestState{route: veeam.RouteProtected}, nil)
		send("anonymous", &requestState{route: veeam.RouteAnonymous}, func(req *http.Request) {
			req.URL.Path = g.server.Base() + "/system/serviceIsUp"
			stateOf(req.Context()).decideFor(req)
		})
		send("refused by the server", &requestState{route: veeam.RouteProtected, account: "wrong"}, nil)
		send("an unknown account", &requestState{route: veeam.RouteProtected, account: "unknown"}, nil)
		send("a difference", &requestState{route: veeam.RouteProtected}, func(req *http.Request) { req.Method = http.MethodDelete })
		send("with a filter", &requestState{route: veeam.RouteProtected, filter: true}, nil)
		send("a login that is over", &requestState{route: veeam.RouteProtected, caller: policy.Caller{Via: policy.ViaPassthrough}}, nil)

		login := g.welcome() // each of these sends by sendDecided
		g.call(login, "200")
		got, _ := g.login(veeamtest.DefaultUser, "wrong")
		seen["a wrong password"] = got.String()
		got, token := g.login(veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword)
		seen["a challenge"] = got.String()
		got, _ = g.ask(&veeam.TokenRequest{Grant: veeam.GrantMFA, MFAToken: secret.New(token), MFACode: secret.New("000000")})
		seen["a wrong code"] = got.String()

		want := map[string]string{
			"without an account": "401 no_token", "cold": "200", "cached": "200", "anonymous": "200",
			"refused by the server": "503 credential_refused", "an unknown account": "403 no_account", "a difference": "502 decision_mismatch",
			"with a filter": "200", "a login that is over": "401 expired_token",
			"a wrong password": "401 bad_credential", "a challenge": "200", "a wrong code": "401 bad_credential",
		}
		if !maps.Equal(seen, want) {
			g.Errorf("got  %v\nwant %v", seen, want)
		}
	})
}

func TestRequestState_AnotherTryFindsNothingOfTheFirst(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {}}`)
	c.serve(http.StatusOK, http.Header{"Content-Type": {contentTypeJSON}}, `{"password": "hunter2"}`)
	c.change = func(out *http.Request) {
		first := out.Clone(out.Context())
		first.Method = http.MethodDelete
		res, err := sendDecided(t, c.tr, first)
		if err != nil || stateOf(first.Context()).found.refused == nil {
			t.Fatal("the first try is not refused", err)
		}
		_ = res.Body.Close()
	}
	counted := func(result string) float64 {
		return testutil.ToFloat64(c.handler.metrics.Requests.WithLabelValues("vspc", result))
	}
	injected, refused := counted(metrics.ResultInjected), counted(metrics.ResultRefused)
	got := c.ask("monitor", http.MethodGet, "/api/v3/organizations", nil)
	if got.Code != http.StatusOK || strings.Contains(got.Body.String(), "hunter2") {
		t.Errorf("the answer to another try is not filtered: %d %s", got.Code, got.Body)
	}
	if counted(metrics.ResultInjected) != injected+1 || counted(metrics.ResultRefused) != refused {
		t.Error("the request counts as refused")
	}
}
