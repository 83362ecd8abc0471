// Callers with tokens of identity providers, at a handler.

package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

const idpIssuer = "https://idp.lab.local"

// idp is an identity provider with one key.
type idp struct {
	key  *ecdsa.PrivateKey
	file string
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	p := &idp{key, filepath.Join(t.TempDir(), "jwks.json")}
	if err := os.WriteFile(p.file, fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"%s","y":"%s"}]}`, encode(point[1:33]), encode(point[33:])), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *idp) config() *jwtcaller.Config {
	return &jwtcaller.Config{Name: "k8s", Issuer: idpIssuer, Audience: []string{"veeam-auth"}, JWKSFile: p.file}
}

// token is one of the provider, with changed claims.
func (p *idp) token(t *testing.T, change jwt.MapClaims) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{"iss": idpIssuer, "aud": "veeam-auth", "sub": "alice", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(claims, change)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = "one"
	text, err := token.SignedString(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestACallerIsKnownByATokenOfAnIdentityProvider(t *testing.T) {
	t.Parallel()
	p := newIDP(t)
	config := p.config()
	config.Clients = []jwtcaller.Client{{Value: "system:serviceaccount:monitoring:grafana", Client: "grafana"}}
	config.Accounts = []jwtcaller.Account{{Account: "svc-operator", Claim: "groups", Values: []string{"op"}}}
	k := newKeyed(t, &Handler{
		TrustJWT: []*jwtcaller.Config{config},
		Clients:  []*clients.Client{{Name: "grafana", Account: "svc-monitor", Limits: clients.Limits{Preset: "monitor"}}, {Name: "alice", Limits: clients.Limits{Preset: "operate"}}},
		Rules:    []*rules.Rule{{Effect: "allow"}},
	})
	for name, tt := range map[string]struct {
		claims                     jwt.MapClaims
		client, via, provider, acc string
	}{
		"a subject":              {nil, "jwt:k8s:alice", "jwt", "k8s", ""},
		"a subject with a group": {jwt.MapClaims{"groups": []string{"x", "op"}}, "jwt:k8s:alice", "jwt", "k8s", "svc-operator"},
		"a client":               {jwt.MapClaims{"sub": "system:serviceaccount:monitoring:grafana", "groups": "op"}, "grafana", "client", "k8s", "svc-monitor"},
		"named like a client":    {jwt.MapClaims{"sub": "grafana"}, "jwt:k8s:grafana", "jwt", "k8s", ""},
	} {
		for range 2 {
			a := k.send(get("/api/v1/jobs", bearer(p.token(t, tt.claims))...), "192.0.2.7")
			if a.passed == nil || a.account != tt.acc {
				t.Errorf("%s: %+v", name, a)
				continue
			}
			state := stateOf(a.passed.Context())
			for key, want := range map[string]string{"client": tt.client, "via": tt.via, "provider": tt.provider} {
				if got, _ := state.placeholders("http.veeam_auth." + key); got != want {
					t.Errorf("%s: {http.veeam_auth.%s} is %q, want %q", name, key, got, want)
				}
			}
			if len(a.passed.Header["Authorization"]) > 0 {
				t.Errorf("%s: the token goes to the server", name)
			}
		}
	}
	// The limits of a client are those of its callers.
	grafana := p.token(t, jwt.MapClaims{"sub": "system:serviceaccount:monitoring:grafana"})
	if a := k.send(httptest.NewRequest(http.MethodDelete, "http://localhost/api/v1/jobs/1", nil), "192.0.2.7"); a.passed != nil {
		t.Error("without a token it passes")
	}
	r := httptest.NewRequest(http.MethodDelete, "http://localhost/api/v1/jobs/00000000-0000-0000-0000-000000000001", nil)
	r.Header.Set("Authorization", "Bearer "+grafana)
	if a := k.send(r, "192.0.2.7"); a.passed != nil || a.reason != veeam.ReasonDenied {
		t.Errorf("beyond the preset of the client: %+v", a)
	}
	// The callers get no tokens of this site.
	r = httptest.NewRequest(http.MethodPost, "http://localhost/api/oauth2/authorization_code", nil)
	r.Header.Set("Authorization", "Bearer "+grafana)
	if a := k.send(r, "192.0.2.7"); a.status != http.StatusForbidden || strings.Contains(a.body, `"code"`) {
		t.Errorf("an authorization code: %+v", a)
	}
}

func TestNoForgedJWTGetsIn(t *testing.T) {
	t.Parallel()
	p, other := newIDP(t), newIDP(t)
	k := newKeyed(t, &Handler{TrustJWT: []*jwtcaller.Config{p.config()}, Rules: []*rules.Rule{{Effect: "allow"}}})
	valid := p.token(t, nil)
	own, err := k.issuer.Issue(t.Context(), issuer.Subject{Client: "caddy:bob", Vouch: "caddy"}, k.audienceOf(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	asOwn := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": idpIssuer, "aud": "veeam-auth", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	asOwn.Header["kid"] = "one"
	text, err := asOwn.SignedString([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(valid, ".")
	for name, tt := range map[string]struct {
		token  string
		reason veeam.Reason
	}{
		"a key of another provider":    {other.token(t, nil), veeam.ReasonBadToken},
		"another issuer":               {p.token(t, jwt.MapClaims{"iss": "https://evil.lab.local"}), veeam.ReasonBadToken},
		"the issuer of issued tokens":  {p.token(t, jwt.MapClaims{"iss": policy.TokenIssuer}), veeam.ReasonBadToken},
		"everything of issued tokens":  {p.token(t, jwt.MapClaims{"iss": policy.TokenIssuer, "aud": k.audienceOf(), "sub": "caddy:bob", "use": "access", "family": "x", "until": time.Now().Add(time.Hour).Unix(), "vouch": "caddy"}), veeam.ReasonBadToken},
		"another audience":             {p.token(t, jwt.MapClaims{"aud": k.audienceOf()}), veeam.ReasonBadToken},
		"expired":                      {p.token(t, jwt.MapClaims{"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(-time.Minute).Unix()}), veeam.ReasonExpiredToken},
		"signed like one issued here":  {text, veeam.ReasonBadToken},
		"no signature":                 {parts[0] + "." + parts[1] + ".", veeam.ReasonBadToken},
		"not of JSON":                  {parts[0] + ".eA." + parts[2], veeam.ReasonBadToken},
		"no JWT":                       {"eyJ", veeam.ReasonBadToken},
		"a refresh token of this site": {own.Refresh, veeam.ReasonBadToken},
	} {
		for range 2 {
			for _, from := range []string{"192.0.2.7", "127.0.0.1", ""} { // no other proof saves an invalid token
				a := k.send(get("/api/v1/jobs", bearer(tt.token)...), from)
				if a.passed != nil || a.status != http.StatusUnauthorized || a.reason != tt.reason {
					t.Errorf("%s from %q: %+v", name, from, a)
				}
			}
		}
	}
	for name, token := range map[string]string{"of the provider": valid, "issued here": own.Access} {
		if a := k.send(get("/api/v1/jobs", bearer(token)...), "192.0.2.7"); a.passed == nil {
			t.Errorf("a token %s: %+v", name, a)
		}
	}
	for _, entry := range k.logs.All() {
		for _, token := range []string{valid, other.token(t, nil), parts[1], parts[2]} {
			if strings.Contains(entry.Message, token) {
				t.Fatal("a token is in the log: " + entry.Message)
			}
		}
	}
}

// audienceOf is the audience of the tokens that the handler issues.
func (k *keyed) audienceOf() string { return k.audience(get("/")) }

func TestAProviderWithoutKeysRefusesItsCallersOnly(t *testing.T) {
	t.Parallel()
	p := newIDP(t)
	config := p.config()
	config.JWKSFile = filepath.Join(t.TempDir(), "absent")
	k := newKeyed(t, &Handler{TrustJWT: []*jwtcaller.Config{config}, Clients: []*clients.Client{{Name: "grafana", Limits: clients.Limits{Preset: "monitor"}}}, Rules: []*rules.Rule{{Effect: "allow"}}})
	if a := k.send(get("/api/v1/jobs", bearer(p.token(t, nil))...), "192.0.2.7"); a.status != http.StatusServiceUnavailable || a.reason != veeam.ReasonJWKS || a.passed != nil {
		t.Errorf("%+v", a)
	}
	if a := k.send(get("/api/v1/jobs"), "127.0.0.1"); a.passed == nil {
		t.Errorf("another caller: %+v", a)
	}
}

// Clients of Enterprise Manager present sessions; a token of a provider comes as a bearer.
func TestATokenOfAProviderCountsAtEnterpriseManager(t *testing.T) {
	t.Parallel()
	p := newIDP(t)
	k := newKeyed(t, &Handler{Product: "em", TrustJWT: []*jwtcaller.Config{p.config()}, Rules: []*rules.Rule{{Effect: "allow"}}})
	if a := k.send(get("/api/jobs", bearer(p.token(t, nil))...), "192.0.2.7"); a.passed == nil {
		t.Errorf("%+v", a)
	}
	if a := k.send(get("/api/jobs", bearer(newIDP(t).token(t, nil))...), "192.0.2.7"); a.passed != nil || a.reason != veeam.ReasonBadToken {
		t.Errorf("a forged one: %+v", a)
	}
}
