// An identity provider for tests: keys of each type, and tokens with any content.

package jwtcaller

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/caddy-veeam/veeam-auth/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testIssuer   = "https://idp.lab.local"
	testAudience = "veeam-auth"
)

// pairs are private keys by the name of the public one.
type pairs struct {
	rsa, otherRSA, weakRSA *rsa.PrivateKey
	p256, p384, p521       *ecdsa.PrivateKey
	ed                     ed25519.PrivateKey
}

var testKeys = sync.OnceValue(func() *pairs {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var p pairs
	var err error
	p.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	p.otherRSA, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	p.weakRSA, err = rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	p.p256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	p.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	p.p521, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(err)
	_, p.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return &p
})

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// jwk is the public part of a key, with more fields.
func jwk(t testing.TB, kid string, private crypto.Signer, more map[string]any) map[string]any {
	t.Helper()
	fields := map[string]any{"kid": kid}
	switch public := private.Public().(type) {
	case *rsa.PublicKey:
		maps.Copy(fields, map[string]any{"kty": "RSA", "n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes())})
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		size := (len(point) - 1) / 2
		maps.Copy(fields, map[string]any{"kty": "EC", "crv": public.Params().Name, "x": encode(point[1 : 1+size]), "y": encode(point[1+size:])})
	case ed25519.PublicKey:
		maps.Copy(fields, map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(public)})
	}
	maps.Copy(fields, more)
	return fields
}

// document is a key set.
func document(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// all is a key set with a key of each type, each with its name.
func all(t testing.TB) []byte {
	p := testKeys()
	return document(t, jwk(t, "rsa", p.rsa, map[string]any{"use": "sig"}), jwk(t, "p256", p.p256, nil), jwk(t, "p384", p.p384, nil),
		jwk(t, "p521", p.p521, nil), jwk(t, "ed", p.ed, map[string]any{"alg": "EdDSA", "key_ops": []string{"verify"}}))
}

// raw is a token with a header and claims that need not be JSON.
func raw(t testing.TB, algorithm string, key any, header, claims string) string {
	t.Helper()
	text := encode([]byte(header)) + "." + encode([]byte(claims))
	signature, err := jwt.GetSigningMethod(algorithm).Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// sign is a token with a header and claims.
func sign(t testing.TB, algorithm string, key any, header, claims map[string]any) string {
	t.Helper()
	header = maps.Clone(header)
	if header == nil {
		header = make(map[string]any)
	}
	if _, set := header["alg"]; !set {
		header["alg"] = algorithm
	}
	texts := [2]string{}
	for i, part := range []map[string]any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	return raw(t, algorithm, key, texts[0], texts[1])
}

// good are claims that count, with changes; nil removes a claim.
func good(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{"iss": testIssuer, "aud": []string{testAudience}, "sub": "alice", "exp": now + 600, "iat": now, "nbf": now}
	for name, value := range changes {
		if value == nil {
			delete(claims, name)
			continue
		}
		claims[name] = value
	}
	return claims
}

// written is a file with a key set.
func written(t testing.TB, text []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// config trusts the provider by a file.
func config(file string) *Config {
	return &Config{Issuer: testIssuer, Audience: []string{testAudience}, JWKSFile: file}
}

// trusting returns what trusts the providers, whose keys are not read yet.
func trusting(t testing.TB, tell func(Report), configs ...*Config) *Trust {
	t.Helper()
	trust, err := New(configs, func(name string) (policy.Caller, bool) {
		return policy.Caller{Name: name, Via: policy.ViaClient, Account: "its account"}, name == "grafana"
	})
	if err != nil {
		t.Fatal(err)
	}
	if tell == nil {
		tell = func(Report) {}
	}
	t.Cleanup(trust.Enter(tell))
	return trust
}
