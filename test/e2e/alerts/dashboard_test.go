// The dashboard of Grafana as a file.

package alerts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const dashboardFile = "../../../deploy/grafana/veeam-auth.json"

// dashboard is what a test reads of the file.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []dashboardVariable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []dashboardAnnotation `json:"list"`
	} `json:"annotations"`
	Panels []dashboardPanel `json:"panels"`
}

type dashboardVariable struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Definition string          `json:"definition"`
	Query      json.RawMessage `json:"query"`
	Datasource datasource      `json:"datasource"`
}

type dashboardAnnotation struct {
	Name        string     `json:"name"`
	BuiltIn     int        `json:"builtIn"`
	Datasource  datasource `json:"datasource"`
	Expr        string     `json:"expr"`
	TitleFormat string     `json:"titleFormat"`
	TextFormat  string     `json:"textFormat"`
}

type dashboardPanel struct {
	ID          int              `json:"id"`
	Type        string           `json:"type"`
	Title       string           `json:"title"`
	Description string           `json:"description"`
	Datasource  datasource       `json:"datasource"`
	Grid        grid             `json:"gridPos"`
	Targets     []target         `json:"targets"`
	Panels      []dashboardPanel `json:"panels"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type grid struct{ X, Y, W, H int }

func (g grid) overlaps(other grid) bool {
	return g.X < other.X+other.W && other.X < g.X+g.W && g.Y < other.Y+other.H && other.Y < g.Y+g.H
}

type target struct {
	RefID      string     `json:"refId"`
	Expr       string     `json:"expr"`
	Datasource datasource `json:"datasource"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// dashboardQueries returns the queries of all panels, with every product, account and
// instance chosen and rates over an interval.
func dashboardQueries(t *testing.T, interval string) (queries []string) {
	t.Helper()
	variables := strings.NewReplacer("$product", ".*", "$account", ".*", "$instance", ".*", "$__rate_interval", interval, "$__range", "1h")
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			queries = append(queries, variables.Replace(target.Expr))
		}
	}
	return queries
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// asked are the series and the label that a variable lists the values of, with every product
// chosen.
func (v dashboardVariable) asked(t *testing.T) (series, label string) {
	t.Helper()
	parts := labelValues.FindStringSubmatch(v.Definition)
	if parts == nil {
		t.Fatalf("variable %s is %s", v.Name, v.Definition)
	}
	return strings.ReplaceAll(parts[1], "$product", ".*"), parts[2]
}

// offersValues fails the test unless a Prometheus has values for each variable of the
// dashboard, these among them, and points for each annotation, with the labels that it shows.
func offersValues(t *testing.T, p *prometheusServer, since time.Time, wanted map[string][]string) {
	t.Helper()
	d := readDashboard(t)
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		series, label := v.asked(t)
		values := p.labelValues(t, series, label, since)
		if len(values) == 0 {
			t.Errorf("variable %s has no values", v.Name)
		}
		for _, value := range wanted[v.Name] {
			if !slices.Contains(values, value) {
				t.Errorf("variable %s offers %q, not %s", v.Name, values, value)
			}
		}
	}
	shown := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for _, a := range d.Annotations.List {
		if a.BuiltIn != 0 {
			continue
		}
		if p.points(t, a.Expr, since, time.Second) == 0 {
			t.Errorf("the annotation %s has never had data", a.Name)
		}
		for _, label := range shown.FindAllStringSubmatch(a.TitleFormat+a.TextFormat, -1) {
			if len(p.labelValues(t, a.Expr, label[1], since)) == 0 {
				t.Errorf("the annotation %s shows %s, which no series has", a.Name, label[1])
			}
		}
	}
}

// Grafana takes the file: each panel has its own id and place, says what it shows and in
// which unit, and asks the data source that the user chooses for series that exist. Every
// series is on it.
func TestTheDashboardIsComplete(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "veeam-auth" || d.Title == "" || d.SchemaVersion < 39 {
		t.Errorf("uid %q, title %q, schemaVersion %d", d.UID, d.Title, d.SchemaVersion)
	}
	variables := map[string]bool{}
	chosen := datasource{"prometheus", "${datasource}"}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if v.Type != "query" {
			continue
		}
		var query struct{ Query string }
		if err := json.Unmarshal(v.Query, &query); err != nil || query.Query != v.Definition || v.Datasource != chosen {
			t.Errorf("variable %s asks %v for %s, and is shown as %s", v.Name, v.Datasource, v.Query, v.Definition)
		}
		if series, _ := v.asked(t); !strings.HasPrefix(series, "caddy_veeam_auth_") {
			t.Errorf("variable %s is %s", v.Name, v.Definition)
		}
	}
	for _, a := range d.Annotations.List {
		if a.BuiltIn == 0 && (a.Name == "" || a.Expr == "" || a.Datasource != chosen) {
			t.Errorf("annotation %+v lacks name, query or data source", a)
		}
	}
	for _, name := range []string{"datasource", "product", "account", "instance"} {
		if !variables[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
	page := read(t, "../../../docs/metrics.md")
	series := regexp.MustCompile(`caddy_veeam_auth_\w+`)
	used := regexp.MustCompile(`\$(\w+)`)
	ids, rows, shown := map[int]bool{}, 0, map[string]bool{}
	for i, panel := range d.Panels {
		if ids[panel.ID] || panel.ID == 0 {
			t.Errorf("%s has the id %d, as another panel has", panel.Title, panel.ID)
		}
		ids[panel.ID] = true
		if g := panel.Grid; g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s is at %+v", panel.Title, g)
		}
		for _, other := range d.Panels[:i] {
			if panel.Grid.overlaps(other.Grid) {
				t.Errorf("%s lies on %s", panel.Title, other.Title)
			}
		}
		if panel.Type == "row" {
			rows++
			continue
		}
		if !panelTypes[panel.Type] || !units[panel.FieldConfig.Defaults.Unit] {
			t.Errorf("%s: Grafana has no panel %q or no unit %q", panel.Title, panel.Type, panel.FieldConfig.Defaults.Unit)
		}
		if panel.Title == "" || panel.Description == "" || panel.FieldConfig.Defaults.Unit == "" || panel.Datasource != chosen || len(panel.Targets) == 0 {
			t.Errorf("panel %d %q lacks title, description, unit, data source or query", panel.ID, panel.Title)
		}
		refs := map[string]bool{}
		for _, target := range panel.Targets {
			if refs[target.RefID] || target.Datasource != chosen {
				t.Errorf("%s: query %s occurs twice or asks %v", panel.Title, target.RefID, target.Datasource)
			}
			refs[target.RefID] = true
			for _, name := range series.FindAllString(target.Expr, -1) {
				name = strings.TrimSuffix(name, "_bucket")
				if shown[name] = true; !strings.Contains(page, "| `"+name+"` |") {
					t.Errorf("%s asks for %s, which docs/metrics.md does not have", panel.Title, name)
				}
			}
			for _, name := range used.FindAllStringSubmatch(target.Expr, -1) {
				if !variables[name[1]] && name[1] != "__rate_interval" && name[1] != "__range" {
					t.Errorf("%s uses $%s, which is no variable", panel.Title, name[1])
				}
			}
		}
	}
	if rows != 8 {
		t.Errorf("%d rows", rows)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(caddy_veeam_auth_\\w+)` \\|").FindAllStringSubmatch(page, -1) {
		if !shown[row[1]] {
			t.Errorf("no panel shows %s", row[1])
		}
	}
}

// The panels and units that Grafana has built in, as far as the dashboard uses them.
var (
	panelTypes = map[string]bool{"bargauge": true, "stat": true, "state-timeline": true, "table": true, "timeseries": true}
	units      = map[string]bool{"bool_on_off": true, "bool_yes_no": true, "cps": true, "percentunit": true, "reqps": true, "s": true, "short": true}
)

// Every query parses, also where no Prometheus runs.
func TestTheQueriesOfTheDashboardParse(t *testing.T) {
	var file strings.Builder
	file.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, query := range dashboardQueries(t, "10s") {
		fmt.Fprintf(&file, "  - record: query_%d\n    expr: %q\n", i, query)
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// What fields are called and measured in is that of queries and units that there are, in
// every panel, however deep.
func TestTheFieldsOfTheDashboardAreThoseOfItsQueries(t *testing.T) {
	var file struct {
		Panels []map[string]any `json:"panels"`
	}
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &file); err != nil {
		t.Fatal(err)
	}
	fields := regexp.MustCompile(`^Value #(\w+)$`)
	seen := 0
	for i, panel := range readDashboard(t).Panels {
		refs := map[string]bool{}
		for _, target := range panel.Targets {
			refs[target.RefID] = true
		}
		named := func(text string) {
			if field := fields.FindStringSubmatch(text); field != nil {
				if seen++; !refs[field[1]] {
					t.Errorf("%s has no query for %s", panel.Title, text)
				}
			}
		}
		var walk func(node any)
		walk = func(node any) {
			switch node := node.(type) {
			case string:
				named(node)
			case []any:
				for _, below := range node {
					walk(below)
				}
			case map[string]any:
				if unit, ok := node["value"].(string); ok && node["id"] == "unit" && !units[unit] {
					t.Errorf("%s has the unit %q", panel.Title, unit)
				}
				for name, below := range node {
					named(name)
					walk(below)
				}
			}
		}
		walk(file.Panels[i])
		changes, _ := file.Panels[i]["transformations"].([]any)
		for _, change := range changes {
			if id := change.(map[string]any)["id"]; id != "merge" && id != "organize" {
				t.Errorf("%s has the transformation %v", panel.Title, id)
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d fields were looked at", seen)
	}
}
