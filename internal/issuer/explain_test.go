package issuer

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestABadTokenIsExplained(t *testing.T) {
	sign := func(claims jwt.MapClaims, kid any) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
		if kid != nil {
			token.Header["kid"] = kid
		}
		text, err := token.SignedString([]byte("another key"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	later := time.Now().Add(time.Hour).Unix()
	for name, tt := range map[string]struct{ token, want string }{
		"a word":         {"forged", "not a JWT"},
		"an id":          {"NDRjZmJkYmUtNWE5NS00NDY1LWE3YjQtNTIwZWVhNGZjMjE5", "the session is unknown"},
		"nothing":        {"", "not a JWT"},
		"dots":           {"..", "not a JWT"},
		"of the server":  {sign(jwt.MapClaims{"sub": "administrator", "exp": later}, nil), "another issuer"},
		"other issuer":   {sign(jwt.MapClaims{"sub": "x", "aud": "site"}, "k"), "another issuer"},
		"refresh token":  {sign(jwt.MapClaims{"use": "refresh", "aud": "site"}, "k"), "refresh token"},
		"another site":   {sign(jwt.MapClaims{"use": "access", "aud": "sibling"}, "k"), "another site"},
		"without a site": {sign(jwt.MapClaims{"use": "access"}, "k"), "another site"},
		"another key":    {sign(jwt.MapClaims{"use": "access", "aud": "site", "exp": later}, "k"), "signed with an unknown key"},
	} {
		got := Explain(tt.token, "site")
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q in it", name, got, tt.want)
		}
		if len(tt.token) > 5 && strings.Contains(got, tt.token) {
			t.Errorf("%s: it repeats the token", name)
		}
	}
}
