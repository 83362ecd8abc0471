// The HTTP client of Prometheus and its exporters, configured as their users do
// it: oauth2 with the password in endpoint_params.

package clients

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/prometheus/common/config"
)

func TestPrometheusScrapesWithItsOAuth2Configuration(t *testing.T) {
	for _, s := range sites(t, "1h") {
		get(t, prometheusClient(t, s, clientPassword), s.base+s.protected, http.StatusOK)
	}
}

// It knows no refresh token: it logs in again when its own has expired, which the
// library takes for granted ten seconds early.
func TestPrometheusLogsInAgainWhenItsTokenHasExpired(t *testing.T) {
	for _, s := range sites(t, "9s") {
		client := prometheusClient(t, s, clientPassword)
		for range 3 {
			get(t, client, s.base+s.protected, http.StatusOK)
		}
		if res, err := prometheusClient(t, s, "wrong").Get(s.base + s.protected); err == nil {
			res.Body.Close()
			t.Errorf("%s: a wrong password: %s", s.name, res.Status)
		}
	}
}

func prometheusClient(t *testing.T, s *site, password string) *http.Client {
	t.Helper()
	settings, err := config.LoadHTTPConfig(fmt.Sprintf(`
oauth2:
  client_id: prometheus
  client_secret: ""
  token_url: %s%s
  endpoint_params:
    grant_type: password
    username: %s
    password: %s
`, s.base, s.token, clientName, password))
	if err != nil {
		t.Fatal(err)
	}
	client, err := config.NewClientFromConfig(*settings, "veeam")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}
