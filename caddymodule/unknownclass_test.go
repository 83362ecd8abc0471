package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

func TestWhatNoIndexKnowsMayBeOfAnyClass(t *testing.T) {
	t.Parallel()
	const unheard, newer, known = "POST /api/v8/unheard/of", "DELETE /api/v9/users/5", "GET /api/v8/jobSessions"
	for rules, want := range map[string]map[string]bool{
		"deny operation secret destroy":                  {unheard: false, newer: false, known: true, "DELETE /api/v8.1/users/5": false},
		"deny operation secret\nallow operation unknown": {unheard: true, newer: true, known: false},
		"allow operation unknown\ndeny operation secret": {unheard: true, known: false},
		"deny operation secret\ndefault allow":           {unheard: false, known: true},
		"deny {\noperation secret\nmethod POST\n}":       {unheard: false, newer: true, known: true},
		"deny {\npath /api/v8/*\noperation destroy\n}":   {unheard: false, newer: true, known: true},
		"deny `{http.veeam_auth.class} in [\"secret\"]`": {unheard: false, known: true},
		"deny shadow operation secret":                   {unheard: true, known: true},
		"deny preset monitor":                            {unheard: false, known: false},
		"deny path /api/v8/users*":                       {unheard: true, known: true},
		"allow {\nnot operation secret destroy\n}":       {unheard: false, newer: false, known: true},
		"allow `{http.veeam_auth.class} != \"secret\"`":  {unheard: false, known: true},
		"allow operation read":                           {unheard: false, known: true},
		"allow {\noperation unknown\npath /api/v8/unheard/*\n}\ndeny operation secret\ndefault allow": {unheard: true, newer: false, known: true},
		"deny operation secret\nallow shadow operation unknown":                                       {unheard: false, known: true},
		"allow method GET POST": {unheard: true, newer: false, known: true},
	} {
		caddyfile := fmt.Sprintf("https://azure.lab.local {\n\tveeam_auth https://azure.lab.local {\n\t\tproduct azure\n\t\taccount x {env.NOT_SET}\n%s\n\t}\n}\n", rules)
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
		if err != nil {
			t.Fatal(err)
		}
		for request, allowed := range want {
			method, path, _ := strings.Cut(request, " ")
			r, err := ExplainRequest(method, path, http.Header{})
			if err != nil {
				t.Fatal(err)
			}
			x := explainer(t, config, 443).Explain(r, policy.Caller{Name: string(policy.ViaLoopback), Via: policy.ViaLoopback}, true)
			if (x.Refusal == nil) != allowed {
				t.Errorf("%s\n%s: %+v", rules, request, x)
			}
		}
	}
}

// What the log of a denial says is a line of a Caddyfile, which allows the operation and
// nothing else.
func TestTheAdviceOfADenialIsARuleThatAllowsTheOperation(t *testing.T) {
	t.Parallel()
	const id = "3a4be1c7-1f2d-4a8a-b5f5-6d7c0f0d9b42"
	for _, product := range veeam.Names() {
		config := func(rules string) []byte {
			caddyfile := fmt.Sprintf("https://a.lab.local {\n\tveeam_auth https://b.lab.local {\n\t\tproduct %s\n\t\taccount x {env.NOT_SET}\n%s\n\t}\n}\n", product, rules)
			config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
			if err != nil {
				t.Fatal(err)
			}
			return config
		}
		ask := func(h *Handler, request string) Explanation {
			method, path, _ := strings.Cut(request, " ")
			r, err := ExplainRequest(method, path, http.Header{})
			if err != nil {
				t.Fatal(err)
			}
			return h.Explain(r, policy.Caller{Name: string(policy.ViaLoopback), Via: policy.ViaLoopback}, true)
		}
		monitor := explainer(t, config("allow preset monitor"), 443)
		for _, unheard := range []string{
			"GET /api/v2.3/unheard", "HEAD /unheard/of", "POST /v8/Unheard/" + id + "/x%20y/", "DELETE /api/unheard/7?of=this",
			"POST /api/jobs/" + id + "?x=y&Action=Frob", "GET /api/query?type=Unheard", "GET /extension/" + id + "/api/v1/proxmox/nodes",
		} {
			x := ask(monitor, unheard)
			_, rule, found := strings.Cut(x.Refusal.Detail, "before the other rules: ")
			if !found || !strings.Contains(x.Refusal.Detail, "is not in the index, so no preset allows it") {
				t.Errorf("%s %s: %s", product, unheard, x.Refusal.Detail)
				continue
			}
			h := explainer(t, config(rule+"\nallow preset monitor"), 443)
			if x := ask(h, unheard); x.Refusal != nil || x.Decision.Rule != 1 {
				t.Errorf("%s %s with %s: %+v", product, unheard, rule, x.Refusal)
			}
			for _, other := range []string{"PUT" + unheard[strings.Index(unheard, " "):], "GET /api/unheard/else", "POST /api/jobs/7?action=other"} {
				if x := ask(h, other); x.Refusal == nil {
					t.Errorf("%s %s: %s allows %s", product, unheard, rule, other)
				}
			}
		}
	}
}
