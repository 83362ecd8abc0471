// Package alerts runs the alert rules and the dashboard in Prometheus itself:
// promtool with made-up series, and a server that scrapes a real Caddy.
package alerts

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

const rules = "../../../deploy/prometheus/veeam-auth.rules.yml"

// unitTests are the files with unit tests.
var unitTests = []string{"testdata/rules.test.yml", "testdata/days.test.yml", "testdata/people.test.yml"}

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

// The Prometheus of deploy/compose reads the rules, and Grafana its dashboard and source of
// data.
func TestTheConfigurationOfComposeIsValid(t *testing.T) {
	const folder = "../../../deploy/compose/"
	promtool(t, "check", "config", folder+"prometheus.yml")
	var sources struct {
		Datasources []struct{ Name, UID, Type, URL string }
	}
	var compose struct {
		Services map[string]struct {
			Volumes []string
		}
	}
	for name, into := range map[string]any{"grafana/datasources/prometheus.yml": &sources, "compose.yml": &compose} {
		text, err := os.ReadFile(folder + name)
		if err == nil {
			err = yaml.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(name, err)
		}
	}
	dashboard, err := os.ReadFile("../../../deploy/grafana/veeam-auth.json")
	if err != nil {
		t.Fatal(err)
	}
	if s := sources.Datasources; len(s) != 1 || s[0].Type != "prometheus" || s[0].URL != "http://prometheus:9090" ||
		!bytes.Contains(dashboard, []byte(`"value": "`+s[0].UID+`"`)) {
		t.Errorf("the dashboard does not begin with the source %+v", s)
	}
	mounted := map[string]string{"prometheus": "../prometheus:/etc/prometheus/rules:ro", "grafana": "../grafana:/var/lib/grafana/dashboards:ro"}
	for service, volume := range mounted {
		if !slices.Contains(compose.Services[service].Volumes, volume) {
			t.Errorf("%s has no volume %s", service, volume)
		}
	}
}

func TestTheRulesFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	promtool(t, append([]string{"test", "rules"}, unitTests...)...)
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
	page := read(t, "../../../docs/metrics.md")
	_, table, _ := strings.Cut(page, "\n## Alerts\n")
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, file := range unitTests {
		var unit struct {
			Tests []struct {
				Rules []struct {
					Alert string `yaml:"alertname"`
					Fires []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		decode(t, file, &unit)
		for _, test := range unit.Tests {
			for _, rule := range test.Rules {
				if len(rule.Fires) > 0 {
					fires[rule.Alert] = true
				} else {
					silent[rule.Alert] = true
				}
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
