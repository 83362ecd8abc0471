// The product table: what tells one emulated server from another.

package veeamtest

import (
	"regexp"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Profile is a product server at one generation of its API.
type Profile string

// The servers that can be emulated.
const (
	VBR12 Profile = "vbr12" // Veeam Backup & Replication 12.3.1
	VBR13 Profile = "vbr13" // Veeam Backup & Replication 13.1
	VSPC  Profile = "vspc"  // Veeam Service Provider Console 9.1, API 3.6.1
	// VSPC35 is Veeam Service Provider Console 8.1, API 3.5.1, with the login routes that API 3.6 no longer has.
	VSPC35 Profile = "vspc35"
	Azure  Profile = "azure" // Veeam Backup for Microsoft Azure, API 8.1
	AWS    Profile = "aws"   // Veeam Backup for AWS, API 1.8
	GCP    Profile = "gcp"   // Veeam Backup for Google Cloud 7, API 1.4
	// VB365 is Veeam Backup for Microsoft 365 8, which serves its APIs v6, v7 and v8 side by side.
	VB365 Profile = "vb365"
	ONE   Profile = "one"  // Veeam ONE 13.1, API 2.1 to 2.3
	EM12  Profile = "em12" // Veeam Backup Enterprise Manager 12: its JSON has names in PascalCase
	EM13  Profile = "em13" // Veeam Backup Enterprise Manager 13: its JSON has names in camelCase
)

// Profiles returns every profile, in a fixed order.
func Profiles() []Profile {
	return []Profile{VBR12, VBR13, VSPC, VSPC35, Azure, AWS, GCP, VB365, ONE, EM12, EM13}
}

// Newest returns one profile of every product, that of its newest generation, in the order of Profiles.
func Newest() (newest []Profile) {
	for _, p := range Profiles() {
		if n := len(newest); n > 0 && newest[n-1].Product() == p.Product() {
			newest = newest[:n-1]
		}
		newest = append(newest, p)
	}
	return newest
}

// Product returns the name of the server's product in the configuration. Generations
// with the same login have the same name.
func (p Profile) Product() string {
	switch p {
	case VBR12, VBR13:
		return "vbr"
	case EM12, EM13:
		return "em"
	}
	return string(p)
}

// product is one row of the table.
type product struct {
	dialect
	base      string // where resources and the generic test routes live
	tokenPath string
	routes    func(*Server) []route
	headers   map[string]string
	build     string
	writesLog bool

	versions        []string // served values of x-api-version; nil: the header means nothing here
	foldFields      bool     // names of form fields are compared without case
	multipart       bool     // the token endpoint reads multipart bodies too
	skew            int64    // how many TOTP steps beside the present one are accepted
	scratchCodes    bool     // there are codes for the day when the authenticator is lost
	defaultRole     string
	access, refresh time.Duration
	short           func(access time.Duration) time.Duration // life of a short refresh token
	shortField      string                                   // form field that asks for one
	dates           DateStyle

	mint func(c claimSet) (access, refresh string) // refresh is empty where there are no refresh tokens

	pathVersions []string       // values of {version} in paths, oldest first
	pathPattern  *regexp.Regexp // further values of {version}
	notServed    reason         // why a path with another version is refused, before any look at the session; empty: as any unknown path

	jsonBody         bool         // the token endpoint reads JSON too
	exactGrants      bool         // grant_type is compared with case
	versionlessToken bool         // the token endpoint does without the version header
	oneSession       bool         // a login ends the user's other sessions
	sliding          bool         // access is the time that a session may be idle
	limits           []tokenLimit // of token requests
	noRetryAfter     bool         // 429 does not say when to come back
	http1            bool         // no HTTP/2

	// presented is the session that a request shows. Nil: a bearer.
	presented func(x *exchange) (value string, ok bool)
	// carriers are the headers that show it. Nil: Authorization.
	carriers []string
	// guard makes the value of a cookie that must come with the tokens of the answer to x, or "". Nil: none.
	guard func(x *exchange) string

	grants   map[string]func(*exchange) // by grant_type, in lower case
	problems map[reason]problem         // everywhere but at token endpoints
	problem  func(x *exchange, p problem) (contentType string, body any)
	// encode writes documents. Nil: as JSON.
	encode func(x *exchange, v any) (contentType string, body []byte)
}

// signed makes tokens that are JWTs.
func signed(method jwt.SigningMethod, claims func(c claimSet) (access, refresh jwt.MapClaims)) func(claimSet) (access, refresh string) {
	return func(c claimSet) (access, refresh string) {
		a, r := claims(c)
		return signJWT(method, a), signJWT(method, r)
	}
}

// dialect is how a token endpoint speaks. Its statuses are 200 where they are zero.
type dialect struct {
	granted, challenged int
	success             func(x *exchange, i issue) any
	challenge           func(x *exchange, a *account, mfaToken string) any // nil where users with MFA cannot log in
	redirect            func(x *exchange, a *account) any                  // for users of an identity provider; nil where there are none
	refusals            map[reason]problem
	refusal             func(x *exchange, p problem) (contentType string, body any)
}

var products = map[Profile]*product{
	VBR12:  vbr12(),
	VBR13:  vbr13(),
	VSPC:   vspc(),
	VSPC35: vspc35(),
	Azure:  azure(),
	AWS:    aws(),
	GCP:    gcp(),
	VB365:  vb365(),
	ONE:    one(),
	EM12:   em(pascalCase, "12.3.1.1139"),
	EM13:   em(camelCase, "13.0.1.1071"),
}

// issue is what a successful grant hands out.
type issue struct {
	account         *account
	session         string // names the login
	access, refresh string
	guard           string
	issued, expires time.Time
	lifetime        time.Duration
	grant           string
	short           bool
	userType        string
}

// claimSet is what the claims of a pair of tokens are made from.
type claimSet struct {
	server          *Server
	account         *account
	session         string // names the login
	id              string // differs for each pair
	now             time.Time
	access, refresh time.Time // expiry
	short           bool
}
