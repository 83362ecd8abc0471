package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Caddy logs an error together with the request as it came.
func TestAFailedRequestWithASecretStaysOutOfCaddysErrorLog(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc"}`)
	for name, test := range map[string]struct {
		fails  error
		begun  bool
		status int
	}{
		"the client has gone":      {caddyhttp.Error(499, context.Canceled), false, 499},
		"refused by another":       {caddyhttp.Error(http.StatusRequestEntityTooLarge, errors.New("too large")), false, http.StatusRequestEntityTooLarge},
		"the server is away":       {caddyhttp.Error(http.StatusBadGateway, errors.New("refused")), false, http.StatusBadGateway},
		"no error of Caddy's":      {errors.New("anything"), false, http.StatusInternalServerError},
		"the answer has begun":     {caddyhttp.Error(http.StatusBadGateway, errors.New("cut off")), true, http.StatusAccepted},
		"begun, no error of Caddy": {context.Canceled, true, http.StatusAccepted},
	} {
		for _, secret := range []bool{true, false} {
			req := httptest.NewRequest(http.MethodGet, "/api/v3/organizations", http.NoBody)
			if secret {
				req.Header.Set("X-Api-Key", "canary")
			}
			req.RemoteAddr = "192.0.2.1:1"
			req = prepared(req)
			req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", "monitor")
			w := httptest.NewRecorder()
			err := c.handler.ServeHTTP(w, req, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				if test.begun {
					w.WriteHeader(http.StatusAccepted)
				}
				return test.fails
			}))
			switch {
			case secret && (err != nil || w.Code != test.status):
				t.Errorf("%s: %v, %d", name, err, w.Code)
			case !secret && err == nil && test.status != http.StatusBadGateway:
				t.Errorf("%s: an error without a secret is not passed on", name)
			}
		}
	}
}
