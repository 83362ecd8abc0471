// The form of tokens, and the random parts of answers.

package veeamtest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// keyID is 40 hex digits, as a certificate's SHA-1 thumbprint.
var keyID = sync.OnceValue(func() string { return fmt.Sprintf("%X", randomBytes(20)) })

// signJWT makes a token of a server's form. Its signature has the length of one by an RSA key of 2048 bits and is
// random: nobody but the server could check it, which knows its tokens, and a real one would take most of a test's time.
func signJWT(method jwt.SigningMethod, claims jwt.MapClaims) string {
	t := jwt.NewWithClaims(method, claims)
	if method == jwt.SigningMethodRS512 {
		t.Header["kid"] = keyID()
	}
	unsigned, err := t.SigningString()
	if err != nil {
		panic(err)
	}
	return unsigned + "." + base64.RawURLEncoding.EncodeToString(randomBytes(256))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func uuid() string {
	b := randomBytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// opaqueToken has the shape of an mfa_token: Base64 of 64 hex digits.
func opaqueToken() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%X", randomBytes(32)))
}

// opaqueCode has the shape of an authorization code, and always a + and a / to show who forgets to encode them.
func opaqueCode() string {
	for {
		code := base64.StdEncoding.EncodeToString(append([]byte{0, 1, 0, 0}, randomBytes(268)...))
		if strings.Contains(code, "+") && strings.Contains(code, "/") {
			return code
		}
	}
}
