package adminapi

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

func TestAnOperatorsMistakesAreExplained(t *testing.T) {
	holders := issuer.NewHolders()
	holders.Enter("grafana")
	routes := Sessions{State: upstream.NewState()}.Routes()
	maps.Copy(routes, Tokens{Holders: holders}.Routes())
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{http.MethodPost, SessionsPath, "", http.StatusMethodNotAllowed, "use GET"},
		{http.MethodPost, TokensPath, "", http.StatusMethodNotAllowed, "use GET"},
		{http.MethodGet, SessionsPath + "/forget", "", http.StatusMethodNotAllowed, "use POST"},
		{http.MethodGet, RevokePath, "", http.StatusMethodNotAllowed, "use POST"},
		{http.MethodPost, SessionsPath + "/forget", "{}", http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/logout", "no JSON", http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/login", `{"account": "` + strings.Repeat("x", 5000) + `"}`, http.StatusBadRequest, `write {"account": "<name>"}`},
		{http.MethodPost, SessionsPath + "/login", `{"account": "nobody"}`, http.StatusNotFound, `unknown account "nobody"`},
		{http.MethodPost, RevokePath, "{}", http.StatusBadRequest, `write {"client": "<name>"}`},
		{http.MethodPost, RevokePath, `{"client": "grafana"}`, http.StatusNotFound, "no veeam_auth is configured"},
	} {
		w := httptest.NewRecorder()
		err := routes[tt.path](w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
		failed, ok := errors.AsType[*Error](err)
		if !ok || failed.Status != tt.status || !strings.Contains(failed.Error(), tt.want) || w.Body.Len() > 0 {
			t.Errorf("%s %s: %v %q", tt.method, tt.path, err, w.Body)
		}
	}
}

func TestWithoutSessionsAndTokensTheListsAreEmpty(t *testing.T) {
	routes := Sessions{State: upstream.NewState()}.Routes()
	maps.Copy(routes, Tokens{Holders: issuer.NewHolders()}.Routes())
	for _, path := range []string{SessionsPath, TokensPath} {
		w := httptest.NewRecorder()
		if err := routes[path](w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)); err != nil || w.Body.String() != "[]\n" {
			t.Errorf("%s: %v %q", path, err, w.Body)
		}
	}
}

func TestAnActNamesItsOperator(t *testing.T) {
	certificate := &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}}
	byCertificate := httptest.NewRequestWithContext(t.Context(), http.MethodPost, SessionsPath, nil)
	byCertificate.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
	byName := httptest.NewRequestWithContext(WithOperator(t.Context(), "bob"), http.MethodPost, SessionsPath, nil)
	byName.TLS = byCertificate.TLS
	unknown := httptest.NewRequestWithContext(t.Context(), http.MethodPost, SessionsPath, nil)
	for want, r := range map[string]*http.Request{"alice": byCertificate, "bob": byName, "": unknown} {
		var got Act
		tell(func(act Act) { got = act }, r, Act{Name: "login"})
		if got.Operator != want || got.Name != "login" || got.Address != r.RemoteAddr {
			t.Errorf("%+v, want the operator %q", got, want)
		}
	}
	tell(nil, unknown, Act{}) // nobody listens
}
