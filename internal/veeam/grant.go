// The grants, by the names they have in the configuration and in the log.

package veeam

import "strings"

// Grant is a way to get a token. The values are independent of the product; the
// spelling of each product is in Product.Values.
type Grant string

// The grants.
const (
	GrantPassword          Grant = "password"
	GrantMFA               Grant = "mfa" // second step of GrantPassword
	GrantRefreshToken      Grant = "refresh_token"
	GrantAuthorizationCode Grant = "authorization_code"
	GrantPublicKey         Grant = "public_key" // VSPC
	GrantAs                Grant = "as"         // VSPC: act as another user
	GrantAPIKey            Grant = "api_key"    // VSPC: the key is the bearer token, no request is sent
	GrantSAML              Grant = "saml"       // Azure
	GrantSSOToken          Grant = "sso_token"  // Azure
	GrantUpdaterToken      Grant = "updater_token"
	GrantVBRToken          Grant = "vbr_token"  // VBR: restricted mode of its own integrations
	GrantJWTBearer         Grant = "jwt-bearer" // VB365: an assertion of an identity provider
	GrantOperator          Grant = "operator"   // VB365: an assertion for restore operators
)

// grantAliases maps every spelling that servers document, folded, to its grant.
// Azure names the authorization code grant in two ways in one document.
var grantAliases = map[string]Grant{
	"password":           GrantPassword,
	"mfa":                GrantMFA,
	"refreshtoken":       GrantRefreshToken,
	"authorizationcode":  GrantAuthorizationCode,
	"authenticationcode": GrantAuthorizationCode,
	"publickey":          GrantPublicKey,
	"as":                 GrantAs,
	"saml":               GrantSAML,
	"ssotoken":           GrantSSOToken,
	"updatertoken":       GrantUpdaterToken,
	"vbrtoken":           GrantVBRToken,
	"jwtbearer":          GrantJWTBearer,
	"operator":           GrantOperator,

	"urn:ietf:params:oauth:granttype:jwtbearer": GrantJWTBearer,
}

// readGrant reads a grant_type value in any spelling. An unknown value is reduced to
// what the log may contain, in lower case.
func readGrant(value string) Grant {
	value = strings.TrimSpace(value)
	if g, ok := grantAliases[fold(value)]; ok {
		return g
	}
	word := sanitise(strings.ToLower(value))
	if _, ok := grantAliases[fold(word)]; ok {
		return "invalid" // it differs from a known value only in removed characters
	}
	return Grant(word)
}

// fold reduces a name to its letters and digits in lower case: access_token,
// accessToken and Access_Token become the same, and so do issued and .issued.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case r == '_' || r == '-' || r == '.' || r == ' ':
			return -1
		}
		return r
	}, name)
}
