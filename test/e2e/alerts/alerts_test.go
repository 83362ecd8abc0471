// Package alerts runs the alert rules and the dashboard in Prometheus itself:
// promtool with made-up series, and a server that scrapes a real Caddy.
package alerts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	rules = "../../../deploy/prometheus/veeam-auth.rules.yml"
	units = "testdata/rules.test.yml"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m.Run))
}

// need skips a test whose program is not there.
func need(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		t.Skipf("there is no %s in PATH (Debian package prometheus)", command)
	}
}

func TestTheRulesAreValid(t *testing.T) {
	promtool(t, "check", "rules", rules)
}

func TestTheRulesFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	promtool(t, "test", "rules", units)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	need(t, "promtool")
	out, err := exec.Command("promtool", args...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("SUCCESS")) {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// alert is one rule of the file.
type alert struct {
	Alert, Expr, For string
	Labels           struct{ Severity string }
	Annotations      map[string]string
}

// readAlerts returns the alerts of the file.
func readAlerts(t *testing.T) (alerts []alert) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	decode(t, rules, &file)
	for _, group := range file.Groups {
		alerts = append(alerts, group.Rules...)
	}
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	return alerts
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every alert has a unit test in which it fires and one in which it does not, and its
// row in the documentation.
func TestEveryAlertIsTestedAndDocumented(t *testing.T) {
	var unit struct {
		Tests []struct {
			Rules []struct {
				Alert string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	decode(t, units, &unit)
	page := read(t, "../../../docs/metrics.md")
	_, table, _ := strings.Cut(page, "\n## Alerts\n")
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range unit.Tests {
		for _, rule := range test.Rules {
			if len(rule.Fires) > 0 {
				fires[rule.Alert] = true
			} else {
				silent[rule.Alert] = true
			}
		}
	}
	series := regexp.MustCompile(`caddy_veeam_auth_\w+`)
	alerts := readAlerts(t)
	for _, a := range alerts {
		if !fires[a.Alert] || !silent[a.Alert] {
			t.Errorf("%s: fires in a unit test: %v, is silent in one: %v", a.Alert, fires[a.Alert], silent[a.Alert])
		}
		if !strings.Contains(table, "| `"+a.Alert+"` | "+a.Labels.Severity+" |") {
			t.Errorf("docs/metrics.md has no row for %s, %s", a.Alert, a.Labels.Severity)
		}
		for _, name := range series.FindAllString(a.Expr, -1) {
			if !strings.Contains(page, "| `"+name+"` |") {
				t.Errorf("%s asks for %s, which docs/metrics.md does not have", a.Alert, name)
			}
		}
	}
	if len(alerts) != strings.Count(table, "| `Veeam") {
		t.Errorf("%d alerts, %d rows in docs/metrics.md", len(alerts), strings.Count(table, "| `Veeam"))
	}
}

// Who is woken gets a link to the section that helps, and there is no section that no
// alert leads to. A section says what to look at and what to type.
func TestEveryAlertHasItsSectionInTheRunbook(t *testing.T) {
	sections := map[string]string{}
	for i, section := range strings.Split(read(t, "../../../docs/runbook.md"), "\n## ") {
		if name, text, _ := strings.Cut(section, "\n"); i > 0 {
			sections[name] = text
		}
	}
	for _, a := range readAlerts(t) {
		section, ok := sections[a.Alert]
		if !ok || !strings.Contains(section, "\nLook at: ") || !strings.Contains(section, "\n```") {
			t.Errorf("docs/runbook.md has no section %s, or it does not say what to look at and to type", a.Alert)
		}
		delete(sections, a.Alert)
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels.Severity) {
			t.Errorf("%s has severity %q", a.Alert, a.Labels.Severity)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s has no summary or no description", a.Alert)
		}
		if url := a.Annotations["runbook_url"]; !strings.HasSuffix(url, "/docs/runbook.md#"+strings.ToLower(a.Alert)) {
			t.Errorf("%s has the runbook_url %s", a.Alert, url)
		}
	}
	for name := range sections {
		t.Errorf("docs/runbook.md has a section for %s, which is no alert", name)
	}
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// The two commonest outages, in a Prometheus that scrapes a real Caddy: a secret
// that could never be read, and a server that goes down while a token lives.
func TestPrometheusSeesTheCommonestOutages(t *testing.T) {
	need(t, "prometheus")
	w := harness.New(t)
	server := harness.StartServer(t, veeamtest.VBR13)
	w.Env = []string{"ALERTS_PASSWORD=" + veeamtest.DefaultPassword}
	w.Sites = []*harness.Site{{Server: server, Account: fmt.Sprintf(`account alive {
			username %s
			password {env.ALERTS_PASSWORD}
		}
		account unreadable {
			username %[1]s
			password {file.%s}
		}`, veeamtest.DefaultUser, w.File("not-there"))}}
	w.Run(t)
	ask := func(want int) {
		t.Helper()
		client := http.Client{Timeout: harness.Patience}
		res, err := client.Get(w.Sites[0].URL() + "/api/v1/serverInfo")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Fatalf("status %d, not %d", res.StatusCode, want)
		}
	}
	ask(http.StatusOK) // from now on alive has a token

	p := startPrometheus(t, w.Dir, w.Caddy.Admin)
	for _, firing := range p.waitFor(t, "VeeamSecretUnreadable unreadable") {
		if strings.HasSuffix(firing, " alive") {
			t.Errorf("%s, and all is well with it", firing)
		}
	}
	server.Close()
	ask(http.StatusBadGateway)
	firing := p.waitFor(t, "VeeamServerDown alive", "VeeamSecretUnreadable unreadable")
	if slices.Contains(firing, "VeeamServerDown unreadable") {
		t.Error("VeeamServerDown fires for an account whose secret cannot be read")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ask(http.StatusOK)
	p.wait(t, "VeeamServerDown is over", func(firing []string) bool { return !slices.Contains(firing, "VeeamServerDown alive") })
}

// prometheusServer is a running Prometheus.
type prometheusServer struct {
	port   int
	out    harness.Output
	client http.Client
}

// startPrometheus runs Prometheus with the rules of the documentation, which wait
// for nothing here, and lets it scrape Caddy often.
func startPrometheus(t *testing.T, dir, target string) *prometheusServer {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	write("alerts.yml", regexp.MustCompile(`(?m)^( +for:) .*$`).ReplaceAllString(string(text), "$1 0s"))
	config := write("prometheus.yml", fmt.Sprintf(`global:
  evaluation_interval: 100ms
rule_files: [alerts.yml]
scrape_configs:
  - job_name: veeam-auth
    scrape_interval: 1s
    scrape_timeout: 1s
    static_configs:
      - targets: ['%s']
`, target))
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheusServer{port: ports[0], client: http.Client{Timeout: harness.Patience}}
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", p.port))
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return p
}

// firing lists "alert account" of the alerts that fire now. It reports false while
// Prometheus does not serve.
func (p *prometheusServer) firing(t *testing.T) (firing []string, serves bool) {
	t.Helper()
	res, err := p.client.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/alerts", p.port))
	if err != nil {
		return nil, false
	}
	defer res.Body.Close()
	var answer struct {
		Data struct {
			Alerts []struct {
				State  string            `json:"state"`
				Labels map[string]string `json:"labels"`
			} `json:"alerts"`
		} `json:"data"`
	}
	if res.StatusCode != http.StatusOK {
		return nil, false
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	for _, alert := range answer.Data.Alerts {
		if alert.State == "firing" {
			firing = append(firing, alert.Labels["alertname"]+" "+alert.Labels["account"])
		}
	}
	return firing, true
}

// waitFor waits until all of these fire, and returns all that fire then.
func (p *prometheusServer) waitFor(t *testing.T, alerts ...string) []string {
	t.Helper()
	return p.wait(t, strings.Join(alerts, ", "), func(firing []string) bool {
		return !slices.ContainsFunc(alerts, func(alert string) bool { return !slices.Contains(firing, alert) })
	})
}

// wait waits until the alerts that fire are as they should be, and returns them.
func (p *prometheusServer) wait(t *testing.T, what string, holds func(firing []string) bool) []string {
	t.Helper()
	var firing []string
	if !harness.Until(func() (ok bool) {
		firing, ok = p.firing(t)
		return ok && holds(firing)
	}) {
		t.Fatalf("never: %s; firing: %q\n%s", what, firing, p.out.String())
	}
	return firing
}
