// Callers with tokens of an identity provider, whose keys come over TLS and change.

package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// provider is an identity provider with one key at a time.
type provider struct {
	*httptest.Server
	keys  atomic.Pointer[string]
	reads atomic.Int32
}

// signer is a key of a provider.
type signer struct {
	kid string
	key *ecdsa.PrivateKey
}

func newSigner(t *testing.T, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{kid, key}
}

func (s signer) sign(t *testing.T, change jwt.MapClaims) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "https://idp.lab.local", "aud": []string{"veeam-auth"}, "sub": "system:serviceaccount:backup:exporter", "groups": []string{"backup"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, change)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = s.kid
	text, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (p *provider) has(t *testing.T, signers ...signer) {
	t.Helper()
	keys := make([]string, len(signers))
	for i, s := range signers {
		point, err := s.key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		encode := base64.RawURLEncoding.EncodeToString
		keys[i] = fmt.Sprintf(`{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":%q,"x":%q,"y":%q}`, s.kid, encode(point[1:33]), encode(point[33:]))
	}
	text := `{"keys":[` + strings.Join(keys, ",") + `]}`
	p.keys.Store(&text)
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	p := new(provider)
	p.has(t)
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.reads.Add(1)
		_, _ = w.Write([]byte(*p.keys.Load()))
	}))
	t.Cleanup(p.Close)
	return p
}

func TestTokensOfAnIdentityProviderIdentifyCallers(t *testing.T) {
	t.Parallel()
	p, first, second := startProvider(t), newSigner(t, "first"), newSigner(t, "second")
	p.has(t, first)
	w := newWorld(t.TempDir())
	authority := w.File("idp.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := w.File("jwks.json")
	if err := os.WriteFile(keys, []byte(*p.keys.Load()), 0o600); err != nil {
		t.Fatal(err)
	}
	trust := func(source string) string {
		return `trust_jwt k8s {
			issuer https://idp.lab.local
			audience veeam-auth
			` + source + `
			require groups backup
			account svc-operator kind operator
		}
		header_up X-Client {http.veeam_auth.client}
		header_up X-Via {http.veeam_auth.via}
		header_up X-Account {http.veeam_auth.account}
		deny {
			path */jobs
			expression ` + "`{http.veeam_auth.client} == \"jwt:k8s:nobody\"`" + `
		}
		default allow
		require_authentication`
	}
	w.Sites = []*site{
		{Name: "idp", Options: trust("jwks_url " + p.URL + "\n\t\t\tjwks_ca " + authority)},
		{Name: "file", Options: trust("jwks_file " + keys)},
		{Name: "away", Options: strings.Replace(trust("jwks_url https://127.0.0.1:1/"), "require_authentication", "", 1)},
	}
	w.servers = here(t).servers
	if err := w.writeSecrets(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop) // the servers are everybody's
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	c := w.client(t, "idp")
	token := first.sign(t, nil)
	for range 3 {
		got := c.echo(bearer(token))
		if got.Headers.Get("X-Client") != "jwt:k8s:system:serviceaccount:backup:exporter" || got.Headers.Get("X-Via") != "jwt" || got.Subject != monitor {
			t.Errorf("%+v", got)
		}
		if strings.Contains(fmt.Sprint(got.Headers), strings.Split(token, ".")[1]) {
			t.Error("the server got the token of the caller")
		}
	}
	if got := c.echo(bearer(first.sign(t, jwt.MapClaims{"kind": "operator"}))); got.Subject != operator {
		t.Errorf("as %s", got.Subject)
	}
	c.get("/api/v1/jobs", bearer(first.sign(t, jwt.MapClaims{"sub": "nobody"}))).refused("vbr", http.StatusForbidden)
	parts := strings.Split(token, ".")
	for name, forged := range map[string]string{
		"another key":      signer{"first", second.key}.sign(t, nil),
		"another audience": first.sign(t, jwt.MapClaims{"aud": "other"}),
		"another issuer":   first.sign(t, jwt.MapClaims{"iss": "https://evil.lab.local"}),
		"another group":    first.sign(t, jwt.MapClaims{"groups": []string{"other"}}),
		"expired":          first.sign(t, jwt.MapClaims{"iat": 1, "nbf": 1, "exp": 2}),
		"no signature":     parts[0] + "." + parts[1] + ".",
	} {
		if a := c.get(c.echoPath(), bearer(forged)); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %v", name, a)
		}
	}

	// The provider's key changes: tokens of the next one count as soon as it may be asked
	// again, those of the former one do not any more.
	file := w.client(t, "file")
	file.get(file.echoPath(), bearer(token)).want(http.StatusOK)
	ends := map[string]lasts{"stream": file.stream(bearer(token)), "websocket": file.websocket(bearer(token))}
	p.has(t, second)
	if err := os.WriteFile(keys, []byte(*p.keys.Load()), 0o600); err != nil {
		t.Fatal(err)
	}
	next := second.sign(t, nil)
	harness.Eventually(t, "a new key", func() bool { return file.get(file.echoPath(), bearer(next)).status == http.StatusOK })
	file.get(file.echoPath(), bearer(token)).refused("vbr", http.StatusUnauthorized)
	for kind, l := range ends {
		l.endsSoon(t, kind)
		_ = l.close()
	}
	w.logs(t, "What was under way ends: trust_jwt k8s: the provider no longer has the key of the token")
	if p.reads.Load() < 1 {
		t.Error("the keys were not read over TLS")
	}

	// A provider that is away refuses its own callers.
	away := w.client(t, "away")
	away.get(away.echoPath(), bearer(next)).refused("vbr", http.StatusServiceUnavailable)
	away.echo()
	w.logs(t, "jwks_unavailable")
	if n := w.metric(t, "jwks_reads_total", `provider="k8s"`, `result="unreachable"`); n < 1 {
		t.Errorf("%v failed reads are counted", n)
	}
	if n := w.metric(t, "jwks_reads_total", `provider="k8s"`, `result="ok"`); n < 2 {
		t.Errorf("%v reads are counted", n)
	}
}
