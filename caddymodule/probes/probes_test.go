package probes

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/health"
)

// adapted returns the handlers of an adapted site, in order, or the error.
func adapted(t *testing.T, block string) (handlers []string, err error) {
	t.Helper()
	text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(":9180 {\n"+block+"\n}\n"), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes []struct {
						Handle []json.RawMessage `json:"handle"`
					} `json:"routes"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for _, route := range config.Apps.HTTP.Servers["srv0"].Routes {
		for _, handler := range route.Handle {
			handlers = append(handlers, string(handler))
		}
	}
	return handlers, nil
}

func TestTheDirectiveIsReadFromACaddyfile(t *testing.T) {
	for block, want := range map[string]string{
		"veeam_auth_health": `{"handler":"veeam_auth_health"}`,
		"respond /veeam_auth/* no\nveeam_auth_health /veeam_auth/*": `{"handler":"veeam_auth_health"} {"body":"no","handler":"static_response"}`,
		"veeam_auth_health /probes/* {\nmax_age 2m\n}":              `{"handler":"veeam_auth_health","max_age":120000000000,"path":"/probes"}`,
		"@probes path /a/* /b/*\nveeam_auth_health @probes":         `{"handler":"veeam_auth_health"}`,
		"basic_auth {\n}\nveeam_auth_health * {\nmax_age 90s\n}":    "",
		"veeam_auth_health {\nmax_age soon\n}":                      `error max_age: "soon" is not a duration above zero, for example 90s, 5m or 1h, at Caddyfile:3`,
		"veeam_auth_health {\nmax_age 0s\n}":                        `error max_age: "0s" is not a duration above zero, for example 90s, 5m or 1h, at Caddyfile:3`,
		"veeam_auth_health {\nmax_age\n}":                           `error max_age requires one value, at Caddyfile:3`,
		"veeam_auth_health {\nmax_age 1m 2m\n}":                     `error max_age requires one value, at Caddyfile:3`,
		"veeam_auth_health {\nmax_age 1m\nmax_age 2m\n}":            `error max_age is set twice, at Caddyfile:4`,
		"veeam_auth_health {\naccount svc\n}":                       `error unrecognized option account (allowed: max_age), at Caddyfile:3`,
		"veeam_auth_health ready":                                   `error veeam_auth_health accepts a matcher only, at Caddyfile:2`,
	} {
		handlers, err := adapted(t, block)
		got := strings.Join(handlers, " ")
		if err != nil {
			got = "error " + strings.TrimPrefix(err.Error(), "parsing caddyfile tokens for 'veeam_auth_health': ")
		}
		if want == "" && err == nil && strings.HasSuffix(got, `{"handler":"veeam_auth_health","max_age":90000000000}`) {
			continue // after the authentication
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", block, got, want)
		}
	}
}

func TestOtherRequestsGoToTheNextHandler(t *testing.T) {
	h := &Handler{Path: "/probes"}
	if err := h.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	for path, want := range map[string]int{
		"/probes/live": http.StatusOK, "/probes/other": http.StatusTeapot, "/veeam_auth/live": http.StatusTeapot, "/live": http.StatusTeapot,
		"/probes/ready": http.StatusServiceUnavailable, // no configuration is loaded
	} {
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil), next); err != nil || w.Code != want {
			t.Errorf("%s: %d %v, want %d", path, w.Code, err, want)
		}
	}
	if (&Handler{MaxAge: -1}).Provision(caddy.Context{}) == nil {
		t.Error("a negative age is accepted")
	}
}

func TestTheAdminEndpointAnswersEachProbe(t *testing.T) {
	routes := Admin{}.Routes()
	if len(routes) != len(health.Probes) {
		t.Errorf("%d routes", len(routes))
	}
	for _, route := range routes {
		w := httptest.NewRecorder()
		if err := route.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, route.Pattern, nil)); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v %v", route.Pattern, w.Header(), err)
		}
	}
}
