package admin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Otherwise a list that is asked for while Caddy starts would be empty.
func TestNothingIsSaidBeforeTheConfigurationIsLoaded(t *testing.T) {
	ask := func() (statuses map[string]int) {
		statuses = make(map[string]int)
		for _, router := range []caddy.AdminRouter{Sessions{}, Tokens{}, Keys{}, Approvals{}, AdminPage{}} {
			for _, route := range router.Routes() {
				w := httptest.NewRecorder()
				err := route.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:2019"+route.Pattern, http.NoBody))
				statuses[route.Pattern] = w.Code
				if failed, ok := errors.AsType[caddy.APIError](err); ok {
					statuses[route.Pattern] = failed.HTTPStatus
				}
			}
		}
		return statuses
	}
	for path, status := range ask() {
		if status != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d", path, status)
		}
	}
	if err := caddy.Run(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	for path, status := range ask() {
		if status == http.StatusServiceUnavailable {
			t.Errorf("%s, with a configuration: status %d", path, status)
		}
	}
}
