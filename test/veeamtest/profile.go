// The product table: what tells one emulated server from another.

package veeamtest

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Profile names a product server at one generation of its API.
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
)

// Profiles returns every profile, in a fixed order.
func Profiles() []Profile {
	return []Profile{VBR12, VBR13, VSPC, VSPC35, Azure, AWS}
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

	method jwt.SigningMethod
	claims func(c claimSet) (access, refresh jwt.MapClaims)

	grants   map[string]func(*exchange) // by lower-case grant_type
	problems map[reason]problem         // everywhere but at token endpoints
	problem  func(x *exchange, p problem) (contentType string, body any)
}

// dialect is how a token endpoint speaks.
type dialect struct {
	success   func(x *exchange, i issue) any
	challenge func(x *exchange, a *account, mfaToken string) any // nil where users with MFA cannot log in
	redirect  func(x *exchange, a *account) any                  // for users of an identity provider; nil where there are none
	refusals  map[reason]problem
	refusal   func(x *exchange, p problem) (contentType string, body any)
}

var products = map[Profile]*product{
	VBR12:  vbr12(),
	VBR13:  vbr13(),
	VSPC:   vspc(),
	VSPC35: vspc35(),
	Azure:  azure(),
	AWS:    aws(),
}

// issue is what a successful grant hands out.
type issue struct {
	account         *account
	access, refresh string
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
	id              string // differs for each pair
	now             time.Time
	access, refresh time.Time // expiry
	short           bool
}
