// The dashboard of Grafana as a file.

package alerts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const dashboardFile = "../../../deploy/grafana/veeam-auth.json"

// dashboard is what a test reads of the file.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []dashboardPanel `json:"panels"`
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

// Grafana takes the file: each panel has its own id and place, says what it shows and in
// which unit, and asks the data source that the user chooses for series that exist.
func TestTheDashboardIsComplete(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "veeam-auth" || d.Title == "" || d.SchemaVersion < 39 {
		t.Errorf("uid %q, title %q, schemaVersion %d", d.UID, d.Title, d.SchemaVersion)
	}
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if v.Type == "query" && !strings.HasPrefix(v.Definition, "label_values(caddy_veeam_auth_") {
			t.Errorf("variable %s is %s", v.Name, v.Definition)
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
	ids, rows := map[int]bool{}, 0
	chosen := datasource{"prometheus", "${datasource}"}
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
				if name = strings.TrimSuffix(name, "_bucket"); !strings.Contains(page, "| `"+name+"` |") {
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
	if rows != 7 {
		t.Errorf("%d rows", rows)
	}
}

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
