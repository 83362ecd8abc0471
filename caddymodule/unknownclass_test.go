package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

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
