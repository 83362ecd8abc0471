// Rules over real sockets: order, default, shadow, classes, CEL, placeholders,
// and what a denied request gets and leaves in log and metrics.

package access

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

const decisions = "decisions_total"

const startJob = "/api/v1/jobs/" + jobID + "/start"

func TestTheFirstRuleThatMatchesDecidesOverTheWire(t *testing.T) {
	w := here(t)
	c := w.client(t, "rules")
	for _, r := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/v1/serverInfo", http.StatusOK},
		{"GET", "/api/v1/credentials", http.StatusForbidden},
		{"GET", "/API/V1/Credentials/5", http.StatusForbidden},
		{"DELETE", "/api/v1/jobs/" + jobID, http.StatusForbidden},
		{"POST", startJob, http.StatusForbidden},
		{"GET", "/api/v1/credentials/", http.StatusForbidden},
		{"GET", "/api/v1/serverInfo/", http.StatusOK},
		{"POST", "/api/v1/echo", http.StatusOK},
		{"PUT", "/api/v1/echo", http.StatusForbidden}, // by default
	} {
		a := c.do(r.method, r.path, "")
		if r.status == http.StatusForbidden {
			a.refused("vbr", http.StatusForbidden)
		} else {
			a.want(r.status)
		}
	}
	for _, name := range []string{"grafana", "nightly"} {
		mine := c.tokens(name, password)
		c.do(http.MethodPost, startJob, "", bearer(mine.Access)).refused("vbr", http.StatusForbidden)
		c.get("/api/v1/jobs", bearer(mine.Access)).want(http.StatusOK)
	}
}

func TestADenialIsInTheProductsFormAndTheLogNamesTheRule(t *testing.T) {
	w := here(t)
	for _, product := range products {
		w.nothingReached(t, product, func() {
			c := w.client(t, "deny "+product)
			c.get(w.servers[product].Base()+"/echo?of="+product).refused(product, http.StatusForbidden)
		})
		w.logs(t, w.servers[product].Base()+"/echo?of="+product, "the default, because no rule matches; the operation GET ",
			" is not in the index, so no preset allows it; to allow it, write before the other rules: allow `method('GET') && path('")
	}
	w.client(t, "denials").do(http.MethodPost, startJob+"?why", "").refused("vbr", http.StatusForbidden)
	w.logs(t, startJob+"?why", "rule 1 at Caddyfile:"+strconv.Itoa(w.line(t, "deny {\n\t\t\tmethod POST\n\t\t\tpath /api/v1/jobs/*/start")))
	if w.metric(t, decisions, `rule="1"`, `decision="deny"`) < 1 {
		t.Error("the denial is not counted")
	}
}

func TestWhatWasAllowedIsInTheLogAtLevelDebug(t *testing.T) {
	w := here(t)
	w.client(t, "monitor").get("/api/v1/jobs?allowed").want(http.StatusOK)
	w.logs(t, "Debug        Access of user 'loopback' to [GET /api/v1/jobs?allowed] is allowed. This is decided by rule 1 at Caddyfile:"+
		strconv.Itoa(w.line(t, "allow preset monitor"))+".")
}

// line is where a text begins in the Caddyfile.
func (w *world) line(t *testing.T, text string) int {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(w.Dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(file), text)
	if !found {
		t.Fatalf("no %q in the Caddyfile", text)
	}
	return 1 + strings.Count(before, "\n")
}

func TestAShadowRuleIsLoggedAndCountedAndNotObeyed(t *testing.T) {
	w := here(t)
	before := w.metric(t, decisions, `decision="shadow_deny"`)
	w.client(t, "shadow").do(http.MethodPost, startJob+"?shadow", "").want(http.StatusCreated)
	w.logs(t, startJob+"?shadow", "would be denied by shadow rule 1 at Caddyfile:")
	if after := w.metric(t, decisions, `decision="shadow_deny"`); after != before+1 {
		t.Errorf("counted %v times", after-before)
	}
	w.client(t, "shadow").get("/api/v1/jobs").want(http.StatusOK)
	if after := w.metric(t, decisions, `decision="shadow_deny"`); after != before+1 {
		t.Errorf("counted where the shadow rule does not match")
	}
}

func TestPresetsAndClassesAllowWhatTheirNamesSay(t *testing.T) {
	w := here(t)
	for _, r := range []struct {
		method, path string
		status       map[string]int // by site
	}{
		{"GET", "/api/v1/jobs", map[string]int{"monitor": 200, "operate": 200, "classes": 200}},
		{"HEAD", "/api/v1/jobs", map[string]int{"monitor": 200, "operate": 200, "classes": 200}},
		{"POST", startJob, map[string]int{"monitor": 403, "operate": 201, "classes": 403}},
		{"PUT", "/api/v1/jobs/" + jobID, map[string]int{"monitor": 403, "operate": 403, "classes": 404}},
		{"DELETE", "/api/v1/jobs/" + jobID, map[string]int{"monitor": 403, "operate": 403, "classes": 403}},
		{"POST", "/api/v1/security/users/" + jobID + "/resetMFA", map[string]int{"monitor": 403, "operate": 403, "classes": 403}},
		{"GET", "/api/v1/credentials", map[string]int{"monitor": 403, "operate": 403, "classes": 403}},
		{"GET", "/api/v1/nowhere", map[string]int{"monitor": 403, "operate": 403, "classes": 403}},
		{"PROPFIND", "/api/v1/jobs", map[string]int{"monitor": 405, "operate": 405, "classes": 405}},
	} {
		for name, status := range r.status {
			a := w.client(t, name).do(r.method, r.path, "")
			if status == http.StatusNotFound && a.status == http.StatusMethodNotAllowed {
				continue // the emulator has no such operation; the rules let it pass
			}
			a.want(status)
		}
	}
}

func TestCELRulesSeeTheClient(t *testing.T) {
	w := here(t)
	c := w.client(t, "cel")
	c.get("/api/v1/serverInfo", bearer(c.tokens("grafana", password).Access)).want(http.StatusOK)
	c.get("/api/v1/serverInfo", bearer(c.tokens("nightly", password).Access)).refused("vbr", http.StatusForbidden)
	c.get("/api/v1/serverInfo").refused("vbr", http.StatusForbidden)
}

func TestPlaceholdersSayWhatWasDecided(t *testing.T) {
	w := here(t)
	c := w.client(t, "headers")
	mine := c.tokens("nightly", password)
	e := c.echo(bearer(mine.Access))
	for name, want := range map[string]string{
		"X-Client": "nightly", "X-Via": "client", "X-Account": operator, "X-Rule": "2", "X-Decision": "allow", "X-Class": "unknown", "X-Operation": "",
	} {
		if got := e.Headers.Get(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	source := e.Headers.Get("X-Source")
	if !regexp.MustCompile(`^Caddyfile:\d+$`).MatchString(source) {
		t.Errorf("X-Source is %q", source)
	}
	if w.metric(t, decisions, `rule="2",source="`+source+`"`) == 0 {
		t.Errorf("no decision of %s is counted", source)
	}
	harness.Eventually(t, "the access log names the rule", func() bool {
		text, _ := os.ReadFile(filepath.Join(w.Dir, "access.log"))
		return strings.Contains(string(text), `"rule":2`) && strings.Contains(string(text), `"source":"`+source+`"`)
	})
	// What the caller says under these names does not count.
	e = c.echo(header("X-Client", "root"), header("X-Rule", "0"))
	if got := e.Headers["X-Client"]; len(got) != 1 || got[0] != "loopback" {
		t.Errorf("X-Client %q", got)
	}
}

func TestMethodAndPathOverridesChangeNothing(t *testing.T) {
	w := here(t)
	c := w.client(t, "denials")
	w.nothingStarted(t, func() {
		for _, h := range []string{
			"X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: POST",
			"X-Original-URL: " + startJob, "X-Rewrite-URL: " + startJob,
		} {
			c.line("GET "+startJob, h)
			c.line("POST /api/v1/echo", h, "X-Original-URL: "+startJob).want(http.StatusOK)
			c.line("POST "+startJob, h, "X-HTTP-Method-Override: GET", "X-Original-URL: /api/v1/echo").refused("vbr", http.StatusForbidden)
		}
		c.line("POST "+startJob+"?_method=GET").refused("vbr", http.StatusBadRequest)
		c.raw("POST http://localhost"+startJob+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").refused("vbr", http.StatusForbidden)
		c.raw("POST http://elsewhere.example"+startJob+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").refused("vbr", http.StatusUnauthorized)
	})
	e := c.echo(header("X-HTTP-Method-Override", "DELETE"), header("X-Original-URL", "/x"))
	for _, name := range []string{"X-Http-Method-Override", "X-Original-Url"} {
		if got := e.Headers.Get(name); got != "" {
			t.Errorf("the server got %s: %s", name, got)
		}
	}
}

// nothingStarted runs a test during which no job may be started.
func (w *world) nothingStarted(t *testing.T, during func()) {
	t.Helper()
	started := func() (n int) {
		for operation, times := range w.servers["vbr"].Counters().Executed {
			if strings.HasPrefix(operation, "start ") {
				n += times
			}
		}
		return n
	}
	before := started()
	during()
	if after := started(); after != before {
		t.Errorf("%d jobs were started", after-before)
	}
}
