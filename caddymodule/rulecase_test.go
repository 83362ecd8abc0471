package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// caseRules are conditions in the letters of Veeam's documents, or of whoever
// writes them.
var caseRules = []struct{ condition, hit, miss string }{
	{"path /api/v1/backupInfrastructure/*", "/api/v1/backupInfrastructure/proxies", "/api/v1/jobs"},
	{"path /api/v1/*/Proxies", "/api/v1/backupInfrastructure/proxies", "/api/v1/jobs"},
	{"path_regexp ^/api/v1/backupInfrastructure/[a-z]+$", "/api/v1/backupInfrastructure/proxies", "/api/v1/jobs"},
	{`path_regexp ^/API/v1/JOBS/\D+$`, "/api/v1/jobs/states", "/api/v1/jobs/5"},
	{"query format=secret", "/api/v1/jobs?format=secret", "/api/v1/jobs?format=x"},
	{"query format=Secret", "/api/v1/jobs?x=1&format=secret", "/api/v1/jobs?format=secrets"},
	{"query nameFilter=*", "/api/v1/jobs?nameFilter=Secret", "/api/v1/jobs"},
	{`query "format=Geheim Größe"`, "/api/v1/jobs?format=geheim%20gr%C3%B6%C3%9Fe", "/api/v1/jobs?format=geheim"},
	{"vars {query.nameFilter} Secret", "/api/v1/jobs?nameFilter=secret", "/api/v1/jobs?nameFilter=x"},
	{"vars_regexp {query.nameFilter} ^Secret$", "/api/v1/jobs?nameFilter=secret", "/api/v1/jobs?nameFilter=secrets"},
	{"not path_regexp ^/api/v1/Jobs", "/api/v1/backups", "/api/v1/jobs"},
	{"vars {path} /api/v1/Jobs", "/api/v1/jobs", "/api/v1/backups"},
	{"vars_regexp {path} ^/api/v1/Jobs$", "/api/v1/jobs", "/api/v1/backups"},
	{"`{path}.startsWith(\"/api/v1/backupInfrastructure\")`", "/api/v1/backupInfrastructure/proxies", "/api/v1/jobs"},
	{"`{path} == '/API/V1/jobs' && {method} == 'GET'`", "/api/v1/jobs", "/api/v1/backups"},
	{"`{path} in [\"/api/v1/Jobs\", \"/api/v1/Backups\"]`", "/api/v1/backups", "/api/v1/x"},
	{"`{path}.matches(r\"^/api/v1/Jobs/\\D+$\")`", "/api/v1/jobs/states", "/api/v1/jobs/5"},
	{"`path_regexp('^/api/v1/Jobs')`", "/api/v1/jobs", "/api/v1/backups"},
	{"`path_regexp('name', '^/api/v1/Jobs')`", "/api/v1/jobs", "/api/v1/backups"},
	{"`[\"/api/v1/Jobs\"].exists(p, {path}.startsWith(p))`", "/api/v1/jobs/5", "/api/v1/backups"},
	{"`query({'nameFilter': ['X', 'y']})`", "/api/v1/jobs?nameFilter=x", "/api/v1/jobs?nameFilter=z"},
	{"`query({'nameFilter': 'X'})`", "/api/v1/jobs?nameFilter=x", "/api/v1/jobs?nameFilter=z"},
	{"`{query.nameFilter} == \"Secret\"`", "/api/v1/jobs?nameFilter=Secret", "/api/v1/jobs?nameFilter=x"},
	{"`{query.nameFilter} in ['Secret'] || {query.format}.matches('^S')`", "/api/v1/jobs?format=secret", "/api/v1/jobs?format=xs"},
	{"`{uri}.contains('?Format=Secret') || {query}.startsWith('nameFilter=X')`", "/api/v1/jobs?nameFilter=xy", "/api/v1/jobs?nameFilter=z"},
	{"`{http.request.uri.path.2} == \"Jobs\"`", "/api/v1/jobs/5", "/api/v1/backups"},
	{"`!({path}.endsWith(\"States\") || {path}.contains('''Backup'''))`", "/api/v1/jobs", "/api/v1/jobs/states"},
	{"`{uri} == \"/api/v1/Jobs\"`", "/api/v1/jobs", "/api/v1/backups"},
	{"`{http.veeam_auth.client} == \"Grafana\" && {path}.startsWith(\"/api/v1/Jobs\")`", "/api/v1/jobs", "/api/v1/backups"},
}

// recased is a path and a query in which the case of each letter is random, and
// letters of values may be escapes.
func recased(t *rapid.T, target string) string {
	var out strings.Builder
	value, escape := false, 0
	for _, c := range target {
		switch c {
		case '?', '&':
			value = false
		case '=':
			value = true
		case '%':
			escape = 3
		}
		if escape--; escape < 0 && unicode.IsLetter(c) && rapid.Bool().Draw(t, "swap") {
			c ^= 0x20
		}
		if value && escape < 0 && unicode.IsLetter(c) && rapid.IntRange(0, 4).Draw(t, "escape") == 0 {
			fmt.Fprintf(&out, "%%%02x", c)
			continue
		}
		out.WriteRune(c)
	}
	return out.String()
}

func TestNoLetterCaseOfAClientChangesTheOutcomeOfARule(t *testing.T) {
	t.Parallel()
	for _, c := range caseRules {
		t.Run(c.condition, func(t *testing.T) {
			deny, allow := handlerWith(t, "deny "+c.condition), handlerWith(t, "allow "+c.condition)
			allowed := func(h *Handler, method, target string) bool {
				r, err := ExplainRequest(method, "http://localhost"+target, http.Header{})
				if err != nil {
					t.Fatal(err)
				}
				return h.Explain(r, policy.Caller{Name: "Grafana", Via: policy.ViaClient}, true).Refusal == nil
			}
			rapid.Check(t, func(t *rapid.T) {
				method := recased(t, "GET")
				hit, miss := recased(t, c.hit), recased(t, c.miss)
				if allowed(deny, method, hit) || !allowed(allow, method, hit) {
					t.Fatalf("%s %s is not matched", method, hit)
				}
				if !allowed(deny, method, miss) || allowed(allow, method, miss) {
					t.Fatalf("%s %s is matched", method, miss)
				}
			})
		})
	}
}

// A rule that denies a path or a value denies every spelling that a server may take for it.
func TestNoCharacterThatLooksLikeAnotherGetsPastARule(t *testing.T) {
	t.Parallel()
	h := handlerWith(t, "deny path /api/v1/credentials* /api/v1/büro*\n\t\tdeny query format=secret\n\t\tdefault allow")
	for target, want := range map[string]veeam.Reason{
		"/api/v1/%E2%85%BDredentials": veeam.ReasonBadRequest, "/api/v1/%E2%93%92redentials": veeam.ReasonBadRequest,
		"/api/v1/%F0%9D%90%9Credentials": veeam.ReasonBadRequest, "/api/v1/%EF%BD%83redentials": veeam.ReasonBadRequest,
		"/api/v1/B%C3%9CRO/1": veeam.ReasonDenied, "/api/v1/b%C3%BCro": veeam.ReasonDenied, "/api/v1/stra%C3%9Fe": "", "/api/v1/%E6%97%A5": "",
		"/api/v1/jobs?format=Secret": veeam.ReasonDenied, "/api/v1/jobs?format=secret+": veeam.ReasonBadRequest, "/api/v1/jobs?format=%09secret": veeam.ReasonBadRequest,
		"/api/v1/jobs?format=secret%00": veeam.ReasonBadRequest, "/api/v1/jobs?format=%E2%93%A2ecret": veeam.ReasonBadRequest,
		"/api/v1/jobs?nameFilter=+m%C2%B2%00": "", "/api/v1/jobs?format=gr%C3%B6%C3%9Fe": "",
	} {
		r, err := ExplainRequest(http.MethodGet, "http://localhost"+target, http.Header{})
		if err != nil {
			t.Fatal(err)
		}
		got := veeam.Reason("")
		if refusal := h.Explain(r, policy.Caller{Name: "Grafana", Via: policy.ViaClient}, true).Refusal; refusal != nil {
			got = refusal.Reason
		}
		if got != want {
			t.Errorf("%s: %q, not %q", target, got, want)
		}
	}
}

func TestConditionsThatCannotRegardBothCasesAreRefused(t *testing.T) {
	t.Parallel()
	for condition, says := range map[string]string{
		"`{http.request.orig_uri.path} == \"/x\"`":    "as sent",
		"vars {http.request.orig_method} GET":         "as sent",
		"`{path}.upperAscii() == \"/API/V1/JOBS\"`":   "upperAscii",
		"`{query.format}.upperAscii() == \"SECRET\"`": "upperAscii",
		"query format={http.request.header.X-Format}": "lower case",
		"query Format=a format=b":                     "twice",
	} {
		caddyfile := fmt.Sprintf(":80 {\n\tveeam_auth https://veeam.lab.local {\n\t\taccount x {env.X}\n\t\tdeny %s\n\t}\n}\n", condition)
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
		if err == nil {
			_, err = prepare(t, config, 80)
		}
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "Caddyfile:4") {
			t.Errorf("%s: %v", condition, err)
		}
	}
}
