// Tokens of an identity provider, good and forged, wherever a client may put one.

package taint

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// trust has a site accept the tokens of an identity provider.
func (s *scene) trust() (options string) {
	var err error
	if s.idp, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		s.t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	keys := `{"keys":[{"kty":"RSA","kid":"idp","n":"` + encode(s.idp.N.Bytes()) + `","e":"` + encode(big.NewInt(int64(s.idp.E)).Bytes()) + `"}]}`
	file := filepath.Join(s.Dir, "jwks.json")
	if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return "\t\ttrust_jwt k8s {\n\t\t\tissuer https://idp.lab.local\n\t\t\taudience veeam-auth\n\t\t\tjwks_file " + file + "\n\t\t}\n"
}

// driveJWTs has clients send such tokens.
func (s *scene) driveJWTs() {
	var tokens []string
	target := s.sites["vbr"] + base("vbr") + "/echo"
	for _, audience := range []string{"veeam-auth", "other"} {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": "https://idp.lab.local", "aud": audience, "sub": "alice", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		})
		token.Header["kid"] = "idp"
		text, err := token.SignedString(s.idp)
		if err != nil {
			s.t.Fatal(err)
		}
		tokens = append(tokens, text)
		s.sent = append(s.sent, canary{"token of an identity provider", text}, canary{"its signature", text[strings.LastIndexByte(text, '.')+1:]})
		for _, token := range []string{text, text + "x", text[:len(text)-4]} {
			s.do(http.MethodGet, target, http.Header{"Authorization": {"Bearer " + token}}, nil, false)
			s.do(http.MethodGet, target, http.Header{"Authorization": {token}, "X-Api-Key": {token}, "Cookie": {"session=" + token}}, nil, false)
			s.do(http.MethodGet, target+"?access_token="+token, nil, nil, false)
			s.form("vbr", url.Values{"grant_type": {"password"}, "username": {"grafana"}, "password": {token}})
		}
		s.do(http.MethodPost, s.sites["vbr"]+"/api/oauth2/authorization_code", http.Header{"Authorization": {"Bearer " + text}}, nil, false)
	}
	for _, seen := range s.servers["vbr"].Seen() {
		for _, token := range tokens {
			if strings.Contains(seen.Body, token) || strings.Contains(seen.Header.Get("Authorization"), token) {
				s.t.Error("a token endpoint got a token of an identity provider")
			}
		}
	}
}
