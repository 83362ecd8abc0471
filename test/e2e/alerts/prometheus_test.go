// A Prometheus that scrapes a Caddy.

package alerts

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// prometheusServer is a running Prometheus.
type prometheusServer struct {
	port   int
	out    harness.Output
	client http.Client
}

// startPrometheus runs Prometheus with the alerts and lets it scrape Caddy: as in
// deploy/compose if inEarnest is set, otherwise often, and alerts that wait do so for two
// scrapes: one may see the first half of what a login changes. A file that is read every 5 s
// counts as unread after two failures instead of 10 minutes.
func startPrometheus(t *testing.T, dir, target string, inEarnest bool) *prometheusServer {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text, scrape, evaluate := read(t, rules), "15s", "15s"
	if !inEarnest {
		text, scrape, evaluate = regexp.MustCompile(`(?m)^( +for:) .*$`).ReplaceAllString(text, "$1 1s"), "500ms", "100ms"
		text = strings.ReplaceAll(text, "[10m]", "[12s]")
	}
	write("alerts.yml", text)
	config := write("prometheus.yml", fmt.Sprintf(`global:
  scrape_interval: %s
  scrape_timeout: %[1]s
  evaluation_interval: %s
rule_files: [alerts.yml]
scrape_configs:
  - job_name: veeam-auth
    static_configs:
      - targets: ['%s']
`, scrape, evaluate, target))
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

// get asks the API and reads data of the answer. It reports false while Prometheus does
// not serve.
func (p *prometheusServer) get(t *testing.T, path string, query url.Values, data any) bool {
	t.Helper()
	res, err := p.client.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/%s?%s", p.port, path, query.Encode()))
	if err != nil {
		return false
	}
	defer res.Body.Close()
	answer := struct {
		Error string `json:"error"`
		Data  any    `json:"data"`
	}{Data: data}
	if res.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("%s %v: %d %s (%v)", path, query, res.StatusCode, answer.Error, err)
		return false
	}
	return true
}

// firing lists "alert labels" of the alerts that fire now, with the labels that say whom
// they are about. It reports false while Prometheus does not serve.
func (p *prometheusServer) firing(t *testing.T) (firing []string, serves bool) {
	t.Helper()
	var data struct {
		Alerts []struct {
			State  string            `json:"state"`
			Labels map[string]string `json:"labels"`
		} `json:"alerts"`
	}
	if !p.get(t, "alerts", nil, &data) {
		return nil, false
	}
	for _, a := range data.Alerts {
		if a.State == "firing" {
			said := []string{a.Labels["alertname"]}
			for _, about := range []string{"product", "account", "provider", "client"} {
				if a.Labels[about] != "" {
					said = append(said, a.Labels[about])
				}
			}
			firing = append(firing, strings.Join(said, " "))
		}
	}
	slices.Sort(firing)
	return firing, true
}

// labelValues lists the values that a label of series has had since a time.
func (p *prometheusServer) labelValues(t *testing.T, series, label string, since time.Time) (values []string) {
	t.Helper()
	p.get(t, "label/"+label+"/values", url.Values{"match[]": {series}, "start": {unix(since)}, "end": {unix(time.Now())}}, &values)
	return values
}

func unix(at time.Time) string { return fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000) }

// points counts the values that a query has had since a time.
func (p *prometheusServer) points(t *testing.T, expr string, since time.Time, step time.Duration) (n int) {
	t.Helper()
	var data struct {
		Result []struct {
			Values [][2]any `json:"values"`
		} `json:"result"`
	}
	p.get(t, "query_range", url.Values{
		"query": {expr}, "start": {unix(since)}, "end": {unix(time.Now())}, "step": {fmt.Sprint(step.Seconds())},
	}, &data)
	for _, series := range data.Result {
		for _, value := range series.Values {
			if value[1] != "NaN" {
				n++
			}
		}
	}
	return n
}
