package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Every refusal has a line with the cause that decided and its reason, and the
// client reads neither the cause nor what it has sent.
func TestTheLogSaysWhatHasDecidedAboutEachRefusal(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	ctx := provisionContext(t, &caddy.Config{StorageRaw: []byte(`{"module": "file_system", "root": "` + t.TempDir() + `"}`)})
	h := &Handler{
		Product: "vbr", Audience: "site", Clients: []*clients.Client{{Name: "grafana", Hash: string(hash)}},
	}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	core, logs := observer.New(zapcore.InfoLevel)
	h.svc = zap.New(core)

	request := func(method, path, form string) *http.Request {
		r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(form))
		r.RemoteAddr, r.Host = "192.0.2.7:1234", "localhost"
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r
	}
	issue := func(audience string, lifetime time.Duration, sub issuer.Subject) string {
		pair, err := h.issuer.Issue(t.Context(), sub, audience, lifetime)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Access
	}
	with := func(token string) *http.Request {
		r := request(http.MethodGet, "/api/v1/jobs", "")
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	}
	password := func(name, password string) *http.Request {
		return request(http.MethodPost, "/api/oauth2/token", url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}}.Encode())
	}
	for name, tt := range map[string]struct {
		request *http.Request
		want    string
		reason  veeam.Reason
	}{
		"nothing":         {request(http.MethodGet, "/api/v1/jobs", ""), "A caller requires a token", veeam.ReasonNoToken},
		"a wrong secret":  {password("grafana", "wrong-secret"), `is not that of the client "grafana"`, veeam.ReasonBadCredential},
		"a wrong name":    {password("grafanna", "wrong-secret"), `Unknown client "grafanna"`, veeam.ReasonBadCredential},
		"no JWT":          {with("forged-token"), "it is not a JWT", veeam.ReasonBadToken},
		"another site":    {with(issue("another site", time.Hour, issuer.Subject{Client: "grafana"})), "issued for another site", veeam.ReasonBadToken},
		"a refresh token": {request(http.MethodPost, "/api/oauth2/token", "grant_type=refresh_token&refresh_token=forged-token"), "The token is not valid", veeam.ReasonBadRefreshToken},
		"a grant":         {request(http.MethodPost, "/api/oauth2/token", "grant_type=client_credentials"), "The grant is not for clients", veeam.ReasonUnsupportedGrant},
		"no grant":        {request(http.MethodPost, "/api/oauth2/token", "x=y"), "is missing, ambiguous", veeam.ReasonBadRequest},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			logs.TakeAll()
			w := httptest.NewRecorder()
			r := caddyhttp.PrepareRequest(tt.request, caddy.NewReplacer(), w, &caddyhttp.Server{})
			err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
				t.Error("it was passed on")
				return nil
			}))
			if err != nil || w.Code < 400 {
				t.Fatalf("%d, %v", w.Code, err)
			}
			var said []string
			for _, entry := range logs.All() {
				if strings.Contains(entry.Message, "is denied") {
					said = append(said, entry.Message)
				}
			}
			if len(said) != 1 || !strings.Contains(said[0], tt.want) || !strings.HasSuffix(said[0], "(VeeamAuth."+string(tt.reason)+")") {
				t.Errorf("the log says %q, want %q, %s", said, tt.want, tt.reason)
			}
			if strings.Contains(strings.Join(said, ""), "wrong-secret") || strings.Contains(strings.Join(said, ""), "forged") {
				t.Errorf("the log repeats what the client has sent: %q", said)
			}
			if tt.reason != veeam.ReasonNoToken && strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("the client reads the cause: %s", w.Body)
			}
		})
	}
}
