// Why a token is not valid, for the log of the operator.

package issuer

import (
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// Explain returns the reason why a token is not valid for an audience, as far as an
// unverified token shows it. It contains no part of the token. The text is for the
// operator, not for the sender.
func Explain(token, audience string) string {
	var c struct {
		jwt.RegisteredClaims
		Use string `json:"use"`
	}
	read, _, err := jwt.NewParser().ParseUnverified(token, &c)
	_, isSession := readSessionID(token)
	switch {
	case isSession:
		return "the session is unknown: it was ended, was unused for so long that it was removed, or was not issued by veeam-auth; sessions of the server are not accepted"
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
