// Clients of VSPC before API 3.6 at the token endpoint of veeam-auth.

package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestALegacyClientLogsInAndRenewsInItsOwnForm(t *testing.T) {
	t.Parallel()
	ctx := provisionContext(t, &caddy.Config{StorageRaw: []byte(`{"module": "file_system", "root": "` + t.TempDir() + `"}`)})
	h := &Handler{Product: "vspc35"}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	h.logger, h.svc = zap.NewNop(), zap.NewNop()
	// What stands for the transport has a session.
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		res, _ := stateOf(r.Context()).answer(new(tokencache.Token), "")
		return answer.Write(w, res)
	})
	post := func(method, path string, pairs ...string) (int, map[string]any) {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for i := 0; i < len(pairs); i += 2 {
			_ = form.WriteField(pairs[i], pairs[i+1])
		}
		_ = form.Close()
		r := httptest.NewRequestWithContext(context.Background(), method, "/api/v3/authentication/"+path, &body)
		r.RemoteAddr, r.Host = "127.0.0.1:50000", "localhost:1280"
		r.Header.Set("Content-Type", form.FormDataContentType())
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, &caddyhttp.Server{})
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, next); err != nil {
			t.Fatal(err)
		}
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s: %s", path, w.Body)
		}
		return w.Code, answer
	}
	status, answer := post("POST", "usernamepassword", "username", "u", "password", "p")
	data, _ := answer["data"].(map[string]any)
	refresh, _ := data["refreshToken"].(string)
	if status != 200 || data["accessToken"] == "" || refresh == "" || data["expirationTime"] == nil {
		t.Fatalf("%d %v", status, answer)
	}
	if _, ok := data["mfaToken"]; !ok || data["mfaToken"] != nil {
		t.Errorf("mfaToken: %v", data)
	}
	status, answer = post("POST", "refresh", "refreshToken", refresh)
	data, _ = answer["data"].(map[string]any)
	if status != 200 || data["accessToken"] == nil || data["refreshToken"] == refresh {
		t.Errorf("renewed: %d %v", status, answer)
	}
	for _, tt := range []struct {
		method, path, token string
		status              int
	}{
		{"POST", "refresh", "junk", http.StatusUnauthorized},
		{"POST", "asymmetricalgorithm", "", http.StatusBadRequest},
		{"PATCH", "asymmetricalgorithm", "", http.StatusBadRequest},
	} {
		status, answer := post(tt.method, tt.path, "refreshToken", tt.token)
		text, _ := json.Marshal(answer)
		if status != tt.status || !strings.HasPrefix(string(text), `{"errors":[`) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, text)
		}
	}
}
