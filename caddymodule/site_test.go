// Where tokens are valid: sites that differ never have one audience, whatever the
// order in which Caddy loads them.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/policy"
)

const siteHash = "$2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG"

// siteSpec is a site of a Caddyfile.
type siteSpec struct {
	Address, Bind, Matcher, Upstream, Account, Client, Rules, Audience, Before string
	Passthrough                                                                bool
}

func (s siteSpec) text() string {
	lines := []string{s.Account, s.Client, s.Rules}
	if s.Audience != "" {
		lines = append(lines, "audience "+s.Audience)
	}
	if s.Passthrough {
		lines = append(lines, "passthrough")
	}
	return fmt.Sprintf("%s {\n\tbind %s\n\t%s\n\tveeam_auth %s %s {\n\t\t%s\n\t}\n}\n",
		s.Address, s.Bind, s.Before, s.Matcher, s.Upstream, strings.Join(lines, "\n\t\t"))
}

// place is what must differ for another audience where none is configured.
func (s siteSpec) place() string {
	return strings.Join([]string{s.Address, s.Bind, s.Matcher, s.Upstream, s.Account}, "|")
}

func anySite() *rapid.Generator[siteSpec] {
	return rapid.Custom(func(t *rapid.T) siteSpec {
		pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name) }
		return siteSpec{
			Address:  pick("address", "http://a.test:9419", "http://b.test:9419", "http://a.test:9420", "http://:9419"),
			Bind:     pick("bind", "127.0.0.1", "127.0.0.2"),
			Matcher:  pick("matcher", "", "/api/*", "/vbr/*"),
			Upstream: pick("upstream", "https://vbr01.lab.local:9419", "https://vbr02.lab.local:9419"),
			Account:  pick("account", "account ro {env.P}", "account admin {env.P}", "account ro {env.P}\n\t\taccount admin {env.P}"),
			Client:   pick("client", "", "client grafana "+siteHash, "client other "+siteHash),
			Rules:    pick("rules", "", "allow preset monitor", "deny method DELETE", "act_as ro"),
			Audience: pick("audience", "", "", "", "one", "two"),
			Before:   pick("before", "", "header X-A b"),

			Passthrough: rapid.Bool().Draw(t, "passthrough"),
		}
	})
}

// standing provisions a Caddyfile and returns the audiences of its handlers, by the
// address and the bind of their sites.
func standing(t rapid.TB, text string) []*site {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n\tadmin off\n}\n"+text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Skipf("no configuration: %v", err)
	}
	var parsed struct {
		Apps struct {
			HTTP json.RawMessage `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	parent := provisionContext(t, &caddy.Config{})
	provisioning.Lock()
	defer provisioning.Unlock()
	ctx, cancel := caddy.NewContext(parent)
	defer cancel()
	loaded, err := ctx.LoadModuleByID("http", parsed.Apps.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	var found []*site
	for _, server := range loaded.(*caddyhttp.App).Servers {
		handlers := handlersOf(server.Routes)
		before := make([]string, len(handlers))
		for i, h := range handlers {
			before[i] = h.stands.Load().upstreams
		}
		for i, h := range handlers {
			s := h.lookAround(server)
			if s.upstreams == before[i] {
				t.Fatal("the handler was not found")
			}
			if h.stands.Load().server != server {
				t.Fatal("one look has not found all handlers")
			}
			found = append(found, s)
		}
	}
	return found
}

func handlersOf(routes caddyhttp.RouteList) (all []*Handler) {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Handler:
				all = append(all, handler)
			case *caddyhttp.Subroute:
				all = append(all, handlersOf(handler.Routes)...)
			}
		}
	}
	return all
}

func audiences(sites []*site) []string {
	var all []string
	for _, s := range sites {
		all = append(all, s.audience)
	}
	slices.Sort(all)
	return all
}

func TestNoTwoSitesHaveOneAudienceUnlessItIsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anySite().Draw(t, "a"), anySite().Draw(t, "b")
		// In one process.
		if a.Address+a.Bind != b.Address+b.Bind {
			both := audiences(standing(t, a.text()+b.text()))
			if len(both) != 2 {
				t.Fatalf("%d handlers", len(both))
			}
			if joined := a.Audience != "" && a.Audience == b.Audience; (both[0] == both[1]) != joined {
				t.Fatalf("%q", both)
			}
			// At a replica that has the same Caddyfile.
			if again := audiences(standing(t, a.text()+b.text())); !slices.Equal(both, again) {
				t.Fatalf("%q at another replica, %q here", again, both)
			}
		}
		// In two processes with one storage: a site is the same if its place is, and rules
		// and clients may change.
		one, two := audiences(standing(t, a.text())), audiences(standing(t, b.text()))
		want := a.Audience == b.Audience && (a.Audience != "" || a.place() == b.place())
		if (one[0] == two[0]) != want {
			t.Fatalf("%q and %q", one, two)
		}
	})
}

// Sites that differ in one thing only.
func TestOneDifferenceMakesAnotherAudience(t *testing.T) {
	t.Parallel()
	base := siteSpec{Address: "http://a.test:9419", Bind: "127.0.0.1", Matcher: "/api/*", Upstream: "https://vbr01.lab.local:9419", Account: "account ro {env.P}"}
	audience := func(s siteSpec) string { return audiences(standing(t, s.text()))[0] }
	for name, c := range map[string]struct {
		change func(*siteSpec)
		same   bool
	}{
		"the name":        {func(s *siteSpec) { s.Address = "http://b.test:9419" }, false},
		"the port":        {func(s *siteSpec) { s.Address = "http://a.test:9420" }, false},
		"the address":     {func(s *siteSpec) { s.Bind = "127.0.0.2" }, false},
		"the matcher":     {func(s *siteSpec) { s.Matcher = "/vbr/*" }, false},
		"the server":      {func(s *siteSpec) { s.Upstream = "https://vbr02.lab.local:9419" }, false},
		"the path there":  {func(s *siteSpec) { s.Rules = "base_path /veeam" }, false},
		"the account":     {func(s *siteSpec) { s.Account = "account admin {env.P}" }, false},
		"one account":     {func(s *siteSpec) { s.Account += "\n\t\taccount admin {env.P}" }, false},
		"the user":        {func(s *siteSpec) { s.Account = "account ro {env.P} {\n\t\t\tusername admin\n\t\t}" }, false},
		"an audience":     {func(s *siteSpec) { s.Audience = "one" }, false},
		"the secret":      {func(s *siteSpec) { s.Account = "account ro {env.Q}" }, true},
		"the rules":       {func(s *siteSpec) { s.Rules = "deny method DELETE" }, true},
		"the clients":     {func(s *siteSpec) { s.Client = "client grafana " + siteHash }, true},
		"what comes else": {func(s *siteSpec) { s.Before = "header X-A b" }, true},
	} {
		other := base
		if c.change(&other); (audience(other) == audience(base)) != c.same {
			t.Errorf("%s: one audience: %v", name, !c.same)
		}
	}
}

func TestTwoDirectivesInOneSiteHaveAudiencesOfTheirOwn(t *testing.T) {
	t.Parallel()
	const block = "https://vbr01.lab.local:9419 {\n\t\taccount ro {env.P}\n\t}\n"
	rapid.Check(t, func(t *rapid.T) {
		// Matchers that differ, or that are written twice.
		first := rapid.SampledFrom([]string{"@red", "@blue", "/api/*"}).Draw(t, "first")
		second := rapid.SampledFrom([]string{"@red", "@blue", "/api/*", ""}).Draw(t, "second")
		got := audiences(standing(t, "http://a.test:9419 {\n\t@red header X-Team red\n\t@blue {\n\t\theader X-Team blue\n\t\tmethod GET\n\t\tpath /x\n\t}\n\tveeam_auth "+first+" "+block+"\tveeam_auth "+second+" "+block+"}\n"))
		if len(got) != 2 || got[0] == got[1] {
			t.Fatalf("%q", got)
		}
	})
}

func TestUsersOfBasicAuthVouchAtTheirSiteOnly(t *testing.T) {
	t.Parallel()
	for range 5 { // the order of maps
		const site = "http://%s.test:9419 {\n\tbasic_auth {\n\t\tbob %s\n\t}\n\tveeam_auth https://vbr01.lab.local:9419 {\n\t\taccount ro {env.P}\n\t}\n}\n"
		other := strings.Replace(siteHash, "Zkx", "Zky", 1)
		found := standing(t, fmt.Sprintf(site, "a", siteHash)+fmt.Sprintf(site, "b", other)+"http://c.test:9419 {\n\tveeam_auth https://vbr01.lab.local:9419 {\n\t\taccount ro {env.P}\n\t}\n}\n")
		seen := map[string]bool{}
		for _, s := range found {
			seen[s.users["bob"]] = true
		}
		if len(found) != 3 || len(seen) != 3 || !seen[""] {
			t.Fatalf("%v", seen)
		}
	}
}

// A caller of one kind never gets the answers, limits or revocations of another that
// has the same name.
func TestCallersOfOneNameAreToldApart(t *testing.T) {
	t.Parallel()
	known := []*clients.Client{{Name: "CN=alice", Hash: siteHash}, {Name: "bob", Hash: siteHash}}
	kinds := []policy.Caller{
		{Name: "CN=alice", Via: policy.ViaClient},
		{Name: "CN=alice", Via: policy.ViaCertificate},
		{Name: "CN=alice", Via: policy.ViaCaddy},
		{Name: "CN=alice", Via: policy.ViaPassthrough},
	}
	none, err := clients.New(nil, passwords)
	if err != nil {
		t.Fatal(err)
	}
	limited := &Handler{clients: none, limits: ratelimit.NewCallers(0.01, 1, 0)}
	for _, excepted := range kinds {
		f := &clients.FilterSecrets{Except: []string{excepted.Identity()}}
		if err := f.Read(known); err != nil {
			t.Fatal(err)
		}
		h := &Handler{FilterSecrets: f}
		for _, caller := range kinds {
			state := &requestState{caller: caller}
			if h.filters(state) != (caller != excepted) {
				t.Errorf("except %s: %s is filtered: %v", excepted.Identity(), caller.Identity(), h.filters(state))
			}
		}
		if _, exceeded := limited.enter(nil, &requestState{caller: excepted}); exceeded != nil {
			t.Errorf("%s shares the limit of another", excepted.Identity())
		}
		if client, _ := (&requestState{caller: excepted}).placeholders("http.veeam_auth.client"); client != excepted.Identity() {
			t.Errorf("rules see %v", client)
		}
	}
	for _, spelling := range []string{"cn=alice", `LAB\CN=Alice`, "CN=Alice@lab.local", "ＣＮ=álice"} { // of one user of the server
		if _, exceeded := limited.enter(nil, &requestState{caller: policy.Caller{Name: spelling, Via: policy.ViaPassthrough}}); exceeded == nil {
			t.Errorf("%s has limits of its own", spelling)
		}
	}
	for _, text := range []string{"alice", "CN=bob", "certificate:", ""} {
		if err := (&clients.FilterSecrets{Except: []string{text}}).Read(known); err == nil {
			t.Errorf("except %q is taken", text)
		}
	}
}
