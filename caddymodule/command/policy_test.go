// The commands about rules: what they say, and that the rules they make allow
// what was done and nothing of another class.

package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	_ "github.com/caddy-veeam/veeam-auth/caddymodule/times" // its matchers stand in rules
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

const guarded = `http://localhost:9419, http://vbr.lab.local:9419 {
	veeam_auth https://vbr01.lab.local:9419 {
		account svc-monitor {env.NOT_SET}
		account svc-operator {env.NOT_SET}
		client grafana $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG
		client nightly $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG svc-operator
		deny shadow method HEAD
		deny operation secret
		allow ` + "`{http.auth.user.id} == \"alice\" || {http.veeam_auth.account} == \"svc-operator\"`" + `
		allow unknown_callers /api/v1/serverTime
		allow preset monitor
	}
}
https://azure.lab.local {
	handle /only/* {
		veeam_auth https://azure.lab.local {
			product azure
			account x {env.NOT_SET}
			act_as {header.X-Team}
		}
	}
}
`

// policyTest runs the command and returns what it prints, and its exit code.
func policyTest(t *testing.T, caddyfile string, args ...string) (out string, code int) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(name, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := newPolicyTestCommand()
	cmd.SetArgs(append([]string{name}, args...))
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	// The exit code itself is Caddy's affair.
	err := cmd.ExecuteContext(t.Context())
	switch {
	case err == nil:
	case strings.Contains(stderr.String(), "the request is denied"):
		code = exitFailed
	default:
		code = exitUsage
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		code = exit.code
	}
	return stdout.String() + stderr.String(), code
}

func TestThePolicyCommandSaysWhatIsDecidedAndWhy(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"a client": {
			[]string{"GET", "http://localhost:9419/API/v1//jobs?skip=0", "--client", "grafana"},
			0,
			[]string{
				"GET /API/v1//jobs", "sent as    GET /API/v1/jobs?skip=0", "caller     grafana, authenticated by client", "GetAllJobs (Jobs), class read",
				"rule 2 at Caddyfile:8 (deny) does not match", "decision   allowed by rule 5 at Caddyfile:11", "account    svc-monitor, the default",
			},
		},
		"a client with an account of its own": {
			[]string{"DELETE", "http://vbr.lab.local:9419/api/v1/jobs/5", "--client", "nightly"},
			0,
			[]string{"class destroy", "allowed by rule 3 at Caddyfile:9", "account    svc-operator"},
		},
		"a denial":           {[]string{"GET", "http://localhost:9419/api/v1/credentials"}, 2, []string{"loopback, authenticated by loopback", "class secret", "denied with 403 by rule 2 at Caddyfile:8", "Error: the request is denied"}},
		"the default":        {[]string{"POST", "http://localhost:9419/api/v1/jobs/5/start"}, 2, []string{"class run", "denied with 403 by the default, because no rule matches"}},
		"a slash at the end": {[]string{"GET", "http://localhost:9419/api/v1/credentials/"}, 2, []string{"denied with 403 by rule 2"}},
		"a shadow rule":      {[]string{"HEAD", "http://localhost:9419/api/v1/jobs"}, 0, []string{"rule 1 at Caddyfile:7 (deny) matches, not enforced (shadow)", "shadow     rule 1 at Caddyfile:7 would decide otherwise"}},
		"somebody whom Caddy knows": {
			[]string{"PUT", "http://localhost:9419/api/v1/jobs/5", "--client", "alice", "--via", "caddy"}, 0, []string{"alice, authenticated by caddy", "allowed by rule 3"},
		},
		"a certificate":     {[]string{"PUT", "http://localhost:9419/api/v1/jobs/5", "--client", "CN=alice", "--via", "certificate"}, 2, []string{"authenticated by certificate", "default"}},
		"a stranger":        {[]string{"GET", "http://localhost:9419/api/v1/jobs", "--via", "unknown"}, 2, []string{"caller     unknown", "rule 5 at Caddyfile:11 (allow)", "denied with 401"}},
		"a stranger's path": {[]string{"GET", "http://localhost:9419/api/v1/serverTime", "--via", "unknown"}, 0, []string{"allowed by rule 4", "none: the route needs no session"}},
		"an odd path":       {[]string{"GET", "http://localhost:9419/api/v1/jobs%2f..%2fcredentials"}, 2, []string{"denied with 400"}},
		"a login":           {[]string{"POST", "http://localhost:9419/api/oauth2/token"}, 0, []string{"answered by veeam_auth itself (token)"}},
		"not in the index":  {[]string{"GET", "http://localhost:9419/api/v9/what"}, 2, []string{"not in the index, class unknown"}},
		"a place for each request": {
			[]string{"GET", "https://azure.lab.local/only/x", "--header", "X-Team: green"}, 0, []string{"product azure", "allowed: there are no rules", "account    green"},
		},
		"nowhere to act":       {[]string{"GET", "https://azure.lab.local/only/x"}, 2, []string{"act_as is empty"}},
		"no such path":         {[]string{"GET", "https://azure.lab.local/other"}, 1, []string{"matches no site", ":9419 for localhost"}},
		"no such port":         {[]string{"GET", "http://localhost/api/v1/jobs"}, 1, []string{"matches no site"}},
		"a path, two sites":    {[]string{"GET", "/api/v1/jobs"}, 1, []string{"or is ambiguous"}},
		"no URL":               {[]string{"GET", "jobs"}, 1, []string{`"jobs" is neither a URL nor a path`}},
		"no such client":       {[]string{"GET", "http://localhost:9419/api/v1/jobs", "--client", "bob"}, 1, []string{`no client named "bob"`}},
		"no such way":          {[]string{"GET", "http://localhost:9419/api/v1/jobs", "--via", "magic"}, 1, []string{"--via magic is not allowed (allowed: client, caddy"}},
		"a name too much":      {[]string{"GET", "http://localhost:9419/api/v1/jobs", "--via", "unix", "--client", "x"}, 1, []string{"have no name"}},
		"a name too little":    {[]string{"GET", "http://localhost:9419/api/v1/jobs", "--via", "caddy"}, 1, []string{"requires --client"}},
		"a header without one": {[]string{"GET", "http://localhost:9419/api/v1/jobs", "--header", "x"}, 1, []string{"has no colon"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := policyTest(t, guarded, c.args...)
			if code != c.code {
				t.Errorf("exit code %d, not %d", code, c.code)
			}
			for _, text := range c.says {
				if !strings.Contains(out, text) {
					t.Errorf("does not say %q", text)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// The caller is the one that the claims of a token name.
func TestThePolicyCommandReadsTheClaimsOfAToken(t *testing.T) {
	site := strings.Replace(strings.Split(guarded, "https://azure")[0], "\t\tdeny shadow", `		trust_jwt k8s {
			issuer https://idp.lab.local
			audience veeam-auth
			jwks_file /nonexistent/jwks.json
			require groups backup
			client system:grafana grafana
			account svc-operator groups operators
		}
		deny shadow`, 1)
	for name, c := range map[string]struct {
		claims string
		args   []string
		code   int
		says   string
	}{
		"a caller":              {`{"iss":"https://idp.lab.local","aud":"veeam-auth","sub":"alice","groups":["backup"]}`, nil, 0, "caller     k8s:alice, authenticated by jwt"},
		"its account":           {`{"iss":"https://idp.lab.local","aud":["veeam-auth"],"sub":"alice","groups":["backup","operators"]}`, nil, 0, "account    svc-operator"},
		"a client":              {`{"iss":"https://idp.lab.local","aud":"veeam-auth","sub":"system:grafana","groups":["backup"]}`, nil, 0, "caller     grafana, authenticated by client"},
		"a missing claim":       {`{"iss":"https://idp.lab.local","aud":"veeam-auth","sub":"alice"}`, nil, 1, "lacks the claim groups"},
		"another issuer":        {`{"iss":"https://x.lab.local","aud":"veeam-auth","sub":"alice","groups":["backup"]}`, nil, 1, "no trust_jwt of the site has the issuer"},
		"another audience":      {`{"iss":"https://idp.lab.local","aud":"x","sub":"alice","groups":["backup"]}`, nil, 1, "its audience (aud) differs"},
		"no JSON":               {`x`, nil, 1, "not a JSON object"},
		"beside another caller": {`{}`, []string{"--client", "grafana"}, 1, "--jwt-claims is not allowed with --client"},
	} {
		file := filepath.Join(t.TempDir(), "claims.json")
		if err := os.WriteFile(file, []byte(c.claims), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := policyTest(t, site, append([]string{"GET", "/api/v1/jobs", "--jwt-claims", file}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: %d: %s", name, code, out)
		}
	}
	if out, code := policyTest(t, guarded, "GET", "http://localhost:9419/api/v1/jobs", "--jwt-claims", "/nonexistent"); code != 1 || !strings.Contains(out, "--jwt-claims") {
		t.Errorf("%d: %s", code, out)
	}
}

// Scopes of keys, limits of clients and times are part of the decision, over changes of
// the clock, too.
func TestThePolicyCommandKnowsKeysAndTimes(t *testing.T) {
	site := `:9419 {
	veeam_auth https://vbr01.lab.local:9419 {
		account svc-monitor {env.NOT_SET}
		account svc-operator {env.NOT_SET}
		client ci {
			preset operate
			hours 02:30-03:30 Europe/Berlin
			until 2027-12-31 Europe/Berlin
			key pipeline sha256:6fe7f6d55a1c5a6db1bd2ef8ccb9b3e4a4a2d32fbb9df0e0cf4a4d07f0c2cd65 {
				preset monitor
				until 2027-10-31T02:30 Europe/Berlin
			}
		}
		client grafana {
			preset monitor
		}
		allow {
			expression ` + "`{http.veeam_auth.client} == \"grafana\"`" + `
			during 02:00-03:00 Europe/Berlin
		}
		allow ` + "`{http.veeam_auth.client} == \"ci\"`" + `
	}
}
`
	const read, start = "GET /api/v1/jobs", "POST /api/v1/jobs/5/start"
	for _, c := range []struct {
		request string
		args    string
		code    int
		says    string
	}{
		{read, "--client ci --at 2027-01-15T02:30:00+01:00", 0, "allowed by rule 2"},
		{read, "--client ci --at 2027-01-15T02:29:59+01:00", 2, "before the rules"},
		{read, "--client ci --at 2027-03-28T01:00:00Z", 0, "allowed by rule 2"}, // the clock goes from 02:00 to 03:00
		{read, "--client ci --at 2027-03-28T00:59:59Z", 2, "before the rules"},
		{read, "--client ci --at 2027-03-28T01:30:00Z", 2, "before the rules"},
		{read, "--client ci --at 2027-10-31T00:30:00Z", 0, "allowed by rule 2"}, // it goes from 03:00 to 02:00
		{read, "--client ci --at 2027-10-31T01:00:00Z", 2, "before the rules"},
		{read, "--client ci --at 2027-10-31T02:29:59Z", 0, "allowed by rule 2"},
		{read, "--client ci --at 2028-01-01T02:30:00+01:00", 2, "before the rules"},
		{start, "--client ci --at 2027-01-15T02:30:00+01:00", 0, "class run"},
		{start, "--client ci --key pipeline --at 2027-01-15T02:30:00+01:00", 2, "key pipeline"},
		{read, "--client ci --key pipeline --at 2027-01-15T02:30:00+01:00", 0, "key        pipeline"},
		{read, "--client ci --key pipeline --at 2027-10-31T00:29:00Z", 2, "before the rules"},
		{read, "--client ci --key pipeline --at 2027-10-31T00:30:00Z", 2, "key pipeline"}, // the first 02:30 of two
		{read, "--client ci --key pipeline --at 2027-10-31T01:30:00Z", 2, "key pipeline"},
		{read, "--client ci --preset monitor --account svc-operator --at 2027-01-15T02:30:00+01:00", 2, "svc-operator"},
		{start, "--client ci --preset monitor --at 2027-01-15T02:30:00+01:00", 2, "key issued"},
		{read, "--client grafana --at 2027-10-31T00:00:00Z", 0, "allowed by rule 1"}, // the hour comes twice
		{read, "--client grafana --at 2027-10-31T01:59:59Z", 0, "allowed by rule 1"},
		{read, "--client grafana --at 2027-10-31T02:00:00Z", 2, "by the default"},
		{read, "--client grafana --at 2027-03-28T01:00:00Z", 2, "by the default"}, // it does not come
		{start, "--client grafana --at 2027-10-31T00:00:00Z", 2, "before the rules"},
		{read, "--client ci --key other", 1, "no key named other"},
		{read, "--client grafana --key pipeline", 1, "no key named pipeline"},
		{read, "--client ci --key pipeline --preset monitor", 1, "--key is not allowed with --preset"},
		{read, "--key pipeline", 1, "a key requires --client"},
		{read, "--client ci --at tomorrow", 1, "is not a time"},
		{read, "--client ci --preset admin", 1, "admin"},
	} {
		out, code := policyTest(t, site, append(strings.Fields(c.request), strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s %s: exit code %d, not %d, or it does not say %q: %s", c.request, c.args, code, c.code, c.says, out)
		}
	}
}

func TestAPathAloneLeadsToTheOnlySite(t *testing.T) {
	site, _, _ := strings.Cut(guarded, "https://azure")
	if out, code := policyTest(t, site, "GET", "/api/v1/jobs"); code != 0 || !strings.Contains(out, "allowed by rule 5") {
		t.Errorf("%d: %s", code, out)
	}
}

func TestAPolicyIsTestedWithoutTouchingAStorage(t *testing.T) {
	storage := filepath.Join(t.TempDir(), "storage")
	site, _, _ := strings.Cut(guarded, "https://azure")
	if out, code := policyTest(t, "{\n\tstorage file_system "+storage+"\n}\n"+site, "GET", "/api/v1/jobs"); code != 0 {
		t.Error(out)
	}
	if _, err := os.Stat(storage); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the storage was touched: %v", err)
	}
}

// write appends a line of Svc.ResAPI.log.
func (d observed) write(log []byte) []byte {
	line := svclog.AppendRequest(nil, &svclog.Request{User: d.client, Method: d.method, Path: d.path})
	return svclog.AppendFrame(log, time.Now(), 7, "Info", line, false)
}

func suggested(t *testing.T, log []byte, product string) string {
	t.Helper()
	var out bytes.Buffer
	if err := suggest(t.Context(), bytes.NewReader(log), product, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSuggestedRulesAreShort(t *testing.T) {
	var log []byte
	for _, d := range []observed{
		{"grafana", "GET", "/api/v1/jobs?skip=0"},
		{"grafana", "GET", "/api/v1/jobs/states"},
		{"loki", "GET", "/api/v1/serverInfo"},
		{"nightly", "POST", "/api/v1/jobs/" + strings.Repeat("5", 8) + "/start"},
		{"nightly", "GET", "/api/v1/sessions"},
		{"ci", "DELETE", "/api/v1/jobs/5"},
		{"ci", "DELETE", "/api/v1/backups/6"},
		{"ci", "PUT", "/api/v1/jobs/5"},
		{"ci", "GET", "/extension/8/x y"},
		{"", "GET", "/api/v1/jobs"},
		{"grafana", "POST", "/api/oauth2/token"},
		{"grafana", "GET", "/api/v1/jobs%2f5"},
	} {
		log = d.write(log)
	}
	got := suggested(t, log, "")
	_, rules, _ := strings.Cut(got, "unknown callers.\n")
	const want = "allow {\n\texpression `{http.veeam_auth.client} == \"ci\"`\n\toperation change\n\tmethod PUT\n\tpath /api/v1/jobs/*\n}\n" +
		"allow {\n\texpression `{http.veeam_auth.client} == \"ci\"`\n\toperation destroy\n\tmethod DELETE\n\tpath /api/v1/backups/* /api/v1/jobs/*\n}\n" +
		"allow {\n\texpression `{http.veeam_auth.client} == \"ci\"`\n\toperation unknown\n\tmethod GET\n\tpath /extension/*/*\n}\n" +
		"allow {\n\texpression `{http.veeam_auth.client} in [\"grafana\", \"loki\"]`\n\toperation read\n}\n" +
		"allow {\n\texpression `{http.veeam_auth.client} == \"nightly\"`\n\toperation read run\n}\n" +
		"default deny\n"
	if rules != want {
		t.Errorf("%s", got)
	}
	if !strings.HasPrefix(got, "# vbr: 9 requests of 4 callers, ") || !strings.Contains(got, "# Skipped: 1 request of unknown callers.\n") {
		t.Errorf("%s", got)
	}
	if got := suggested(t, observed{"grafana", "GET", "/api/v1/jobs"}.write(nil), ""); !strings.HasSuffix(got, "\nallow preset monitor\ndefault deny\n") {
		t.Errorf("%s", got)
	}
	if got := suggested(t, observed{"a", "GET", "/api/v3/organizations"}.write(nil), "vspc35"); !strings.HasPrefix(got, "# vspc35: 1 request of 1 caller, ") || !strings.Contains(got, "preset monitor") {
		t.Errorf("%s", got)
	}
	var out bytes.Buffer
	for log, product := range map[string]string{"": "", string(observed{"", "GET", "/x"}.write(nil)): "", string(observed{"a", "GET", "/x"}.write(nil)): "word"} {
		if err := suggest(t.Context(), strings.NewReader(log), product, &out); err == nil {
			t.Errorf("%q, %q: %s", log, product, out.String())
		}
	}
}

// concrete is a path that a template fits.
func concrete(template string, index *operation.Index) string {
	versions := index.Versions()
	return regexp.MustCompile(`\{[^}]*\}`).ReplaceAllStringFunc(template, func(name string) string {
		if name == "{version}" {
			return "v" + versions[len(versions)-1]
		}
		return "6745a759-2205-4cd2-b172-8ec8f7e60ef8"
	})
}

func TestSuggestedRulesAllowWhatWasDoneAndNothingOfAnotherClass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		product := rapid.SampledFrom(veeam.Names()).Draw(t, "product")
		index, _ := operation.For(product)
		names := []string{"grafana", "certificate:CN=exporter,O=Lab", `passthrough:lab\svc`, "caddy:`{x}\"", "loopback"}
		all := index.All()
		classes := make(map[string]operation.Set)
		var seen []observed
		var log []byte
		for range rapid.IntRange(1, 12).Draw(t, "requests") {
			op := all[rapid.IntRange(0, len(all)-1).Draw(t, "operation")]
			d := observed{rapid.SampledFrom(names).Draw(t, "client"), op.Method, concrete(op.Target(), index)}
			if rapid.IntRange(0, 5).Draw(t, "unknown") == 0 {
				d.path = "/nowhere/" + strings.ReplaceAll(rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9 _.~+:-]{0,7}x`).Draw(t, "path"), " ", "%20")
			}
			log, seen = d.write(log), append(seen, d)
		}
		// What the log says of a name is what counts.
		var out bytes.Buffer
		switch err := suggest(t.Context(), bytes.NewReader(log), product, &out); {
		case errors.Is(err, errNothingToSuggest):
			return
		case err != nil:
			t.Fatal(err)
		}
		guard := guardWith(t, product, out.String())
		defer guard.close()
		decide := func(d observed) caddymodule.Explanation {
			r, err := (&policyTestOptions{}).request(d.method, "http://localhost"+d.path)
			if err != nil {
				t.Fatal(err)
			}
			caller, err := policy.ParseIdentity(d.client)
			if err != nil {
				t.Fatal(err)
			}
			return guard.handler.Explain(r, caller, true)
		}
		for _, d := range seen {
			x := decide(d)
			if x.Route == veeam.RouteClosed {
				continue // no rule opens it
			}
			if x.Refusal != nil {
				t.Fatalf("%+v: %+v\n%s", d, x, out.String())
			}
			op, _, _, _ := d.find(index)
			classes[d.client] |= operation.SetOf(op.Class)
		}
		if !strings.Contains(out.String(), "expression") { // there is one caller, whose rules are without a name
			var seen operation.Set
			for _, set := range classes {
				seen |= set
			}
			for _, name := range names {
				classes[name] = seen
			}
		}
		for range 30 {
			op := all[rapid.IntRange(0, len(all)-1).Draw(t, "unseen")]
			d := observed{rapid.SampledFrom(names).Draw(t, "by"), op.Method, concrete(op.Target(), index)}
			found, _, _, _ := d.find(index)
			x := decide(d)
			if x.Proxied && x.Refusal == nil && !classes[d.client].Has(found.Class) {
				t.Fatalf("%+v of class %s is allowed: %+v\n%s", d, found.Class, x, out.String())
			}
		}
		for _, name := range append(names, "stranger") {
			if x := decide(observed{name, "GET", "/never/seen"}); x.Refusal == nil {
				t.Fatalf("what was never seen is allowed to %s: %+v\n%s", name, x, out.String())
			}
		}
	})
}

// guardWith prepares the handler of a site with these rules.
func guardWith(t *rapid.T, product, rules string) *guard {
	c := &configFlags{config: "-", adapter: "caddyfile"}
	text := fmt.Sprintf(":80 {\n\tveeam_auth https://veeam.lab.local {\n\t\tproduct %s\n\t\taccount x {env.X}\n%s\n\t}\n}\n", product, rules)
	configuration, err := c.load(strings.NewReader(text), io.Discard)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	r, err := (&policyTestOptions{}).request("GET", "/")
	if err != nil {
		t.Fatal(err)
	}
	g, err := configuration.guardOf(r)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return g
}

// What veeam_auth has denied is proposed by no rule; what the server has refused is
// no matter of rules.
// A log may be of sites of several products. An operation that no product has stays.
func TestSuggestedRulesAreOfOneProduct(t *testing.T) {
	var log []byte
	for _, d := range []observed{
		{"grafana", "GET", "/api/v1/jobs"},
		{"grafana", "GET", "/api/v1/sessions"},
		{"grafana", "GET", "/api/v1/newThings"},
		{"backup", "POST", "/api/v8/policies/virtualMachines/5/start"},
		{"backup", "POST", "/api/v8/policies/virtualMachines/5/start"},
		{"backup", "DELETE", "/api/v8/policies/virtualMachines/5"},
	} {
		log = d.write(log)
	}
	got := suggested(t, log, "vbr")
	if !strings.HasPrefix(got, "# vbr: 3 requests of 1 caller, ") || !strings.Contains(got, "# Skipped: 3 requests to azure; --product azure prints its rules.\n") ||
		!strings.Contains(got, "path /api/v1/newThings\n") || strings.Contains(got, "policies/") {
		t.Error(got)
	}
	if got := suggested(t, log, "azure"); !strings.HasPrefix(got, "# azure: ") || !strings.Contains(got, " to vbr; --product vbr prints its rules.\n") || !strings.Contains(got, "policies/") || strings.Contains(got, "sessions") {
		t.Error(got)
	}
}

func TestSuggestedRulesLeaveOutWhatWasDenied(t *testing.T) {
	denied := func(user, method, path string) string {
		return svclog.Denied(user, method, path) + " " + svclog.Exception("This is decided by rule 1.", "VeeamAuth."+string(veeam.ReasonDenied))
	}
	line := func(thread int, level, text string) string {
		return fmt.Sprintf("[03.10.2022 11:48:31.999] <%02d> %-13s%s\n", thread, level, text)
	}
	request := func(thread int, user, method, path string) string {
		return line(thread, "Info", "[User: "+user+"]["+method+"] request to ["+path+"] deserialized. Message: []; Parameters: [].")
	}
	log := request(1, "grafana", "GET", "/api/v1/jobs") +
		request(2, "grafana", "DELETE", "/api/v1/backups/6") +
		line(1, "Info", "[GET /api/v1/jobs]: [200] ") +
		line(2, "Warning", denied("grafana", "DELETE", "/api/v1/backups/6")) +
		line(2, "Info", "[DELETE /api/v1/backups/6]: [403] ") +
		request(3, "grafana", "POST", "/api/v1/jobs/5/start") +
		line(3, "Info", "[POST /api/v1/jobs/5/start]: [403] ") +
		line(3, "Warning", "Login failed for user 'x'.")
	got := suggested(t, []byte(log), "vbr")
	if !strings.Contains(got, "# Skipped: 1 denied request.\n") || strings.Contains(got, "destroy") || !strings.Contains(got, "allow preset operate\ndefault deny\n") {
		t.Errorf("got\n%s", got)
	}
	var out bytes.Buffer
	all := request(4, "grafana", "GET", "/api/v1/jobs") + line(4, "Warning", denied("grafana", "GET", "/api/v1/jobs"))
	if err := suggest(t.Context(), strings.NewReader(all), "vbr", &out); !errors.Is(err, errNothingToSuggest) {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Where a parameter selects the operation, the rule has it as a condition, and allows
// no other.
func TestSuggestedRulesNameTheParameterThatSelects(t *testing.T) {
	em, _ := operation.For("em")
	w := newSuggestion("vbr", em)
	for _, target := range []string{"POST /api/jobs/7?action=clone", "POST /api/jobs/8?action=Clone", "POST /api/jobs/8?action=frob", "POST /api/jobs/8?action=start", "GET /api/query?type=Job"} {
		method, path, _ := strings.Cut(target, " ")
		if !w.add(observed{"grafana", method, path}) {
			t.Errorf("%s is left out", target)
		}
	}
	var out bytes.Buffer
	w.print(&out)
	const clone = "allow {\n\toperation change\n\tmethod POST\n\tpath /api/jobs/*\n\tquery action=clone\n}\n"
	const frob = "allow {\n\toperation unknown\n\tmethod POST\n\tpath /api/jobs/*\n\tquery action=frob\n}\n"
	if got := out.String(); !strings.Contains(got, clone) || !strings.Contains(got, frob) || !strings.Contains(got, "\nallow preset operate\n") {
		t.Errorf("%s", got)
	}
	site, _, _ := strings.Cut(guarded, "https://azure")
	site = strings.Replace(site, "\t\tdeny operation secret\n", frob+"deny operation secret\n", 1)
	for target, code := range map[string]int{"/api/jobs/9?Action=FROB": 0, "/api/jobs/9?action=other": exitFailed, "/api/jobs/9": exitFailed} {
		if out, got := policyTest(t, site, "POST", target); got != code {
			t.Errorf("%s: exit code %d, not %d\n%s", target, got, code, out)
		}
	}
}

func TestListens_ASocketWithoutAPortIsAnyPort(t *testing.T) {
	u := &url.URL{Scheme: "http", Host: "localhost:9419"}
	for address, want := range map[string]bool{":9419": true, "127.0.0.1:9000-9500": true, ":9420": false, "unix//run/x.sock": true, "fd/3": true, ":x": false} {
		if got := listens(address, u); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
