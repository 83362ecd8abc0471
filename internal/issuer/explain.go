// Why a token is not valid, for the log of the operator.

package issuer

import (
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// Explain says what is wrong with a token that is not valid for an audience, as far
// as that can be seen without believing it. It repeats nothing of the token, and is
// not meant for the one who has presented it.
func Explain(token, audience string) string {
	var c struct {
		jwt.RegisteredClaims
		Use string `json:"use"`
	}
	read, _, err := jwt.NewParser().ParseUnverified(token, &c)
	switch {
	case err != nil:
		return "the token was not issued by veeam-auth: it is not a JWT; tokens of the server are not accepted"
	case c.Use == "" || read.Header["kid"] == nil:
		return "the token was not issued by veeam-auth: it is a JWT of another issuer"
	case c.Use == useRefresh:
		return "a refresh token was sent instead of an access token"
	case !slices.Contains(c.Audience, audience):
		return "the token was issued for another site, or before the configuration of this site changed"
	}
	return "the token is signed with an unknown key: it comes from another installation, the keys in the storage were replaced, or the token was modified"
}
