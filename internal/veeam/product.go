// The table of products: everything in which one Veeam product differs from
// another, one row each.

package veeam

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// Product describes a product. Products are shared and must not be changed.
type Product struct {
	// Name is the name in the configuration, Title the full name.
	Name, Title string

	// Port is the default port of the REST API.
	Port int

	// TokenPath is the path of the token endpoint, for POST. {version} is replaced by
	// the API version.
	TokenPath string

	// Version describes how requests select the version of the API.
	Version Version

	// Accounts are the grants that an account may have in the configuration.
	Accounts []Grant

	// Values are the values of grant_type. A grant without a value cannot be sent to
	// this product.
	Values map[Grant]string

	// Fields are the names of the form fields.
	Fields Fields

	// CodePaths are the paths at which a session creates an authorization code, by
	// POST. The next one is tried after a 404. Empty if the product does not support
	// it.
	CodePaths []string

	// Pace is the default maximum rate of token requests to one server. The products
	// have no published limit for token requests: VSPC limits all requests by address
	// and user, without published numbers, and sends 429 with retryAfter; for the
	// others nothing is documented. The related VB365 accepts 1 per second, 5 per
	// minute and 1500 per hour. The rates here are far above those of a healthy process
	// (one request per account and token lifetime, two with a verification code) and
	// far below those that a fault could cause. 300 users of a VSPC with codes log in
	// within a minute.
	Pace ratelimit.Rates

	// Lockout is the default number of tries with a wrong credential that a user has.
	// It is below the known thresholds: the appliance of VBR 13 locks a local user
	// after three refused logins, for 15 minutes or until an administrator unlocks it.
	// No threshold is published for the others.
	Lockout Lockout

	// SessionLogout is the call that ends one session, with {} for the id of the
	// session. Nil if there is none: VSPC can only end all sessions of the user. A
	// dialect may not support it either.
	SessionLogout *Operation

	// OneSession reports whether a login may end the other sessions of the user.
	// According to the documentation of VSPC, sessions of different applications under
	// one user may interfere, so each application should have its own user.
	OneSession bool

	// LoginRefused is the HTTP status of a refused login at the token endpoint.
	LoginRefused int

	// RefusedHint and MFAHint are advice for the operator about a refused credential
	// and about a verification code that is required but not available.
	RefusedHint, MFAHint string

	// RefusedClue tells the operator how to find out whether a refused password is
	// wrong or the user has multi-factor authentication. Empty if there is no way.
	RefusedClue string

	// EnrollHint is what the operator should know before a user gets a second factor.
	EnrollHint string

	// ScratchCodes reports whether the product issues emergency codes, each of which
	// replaces a verification code once.
	ScratchCodes bool

	// KeyServices reports whether the API has services that make and assign keys and
	// secrets for codes, see Client.RSAKeys.
	KeyServices bool

	constants    []field            // of every token request
	dialects     map[string]dialect // by API version, where paths name it
	refusedBy4xx bool               // a refused credential may have any status of 4xx, see readRefusal
	throttleWait time.Duration      // after a 429 that names none. Default: as the pace has it
	// HTTP1 reports whether the server speaks HTTP/1.1 only, and its clients expect a
	// header in a spelling that HTTP/2 does not preserve.
	HTTP1 bool

	// Linked reports whether documents contain absolute links to the server.
	Linked bool

	formats            bool                  // answers are XML, or JSON in one of two spellings
	carrier            Carrier               // how a session is presented. Default: as a bearer
	idle               time.Duration         // after which a session counts as gone. Zero: sessions have a lifetime
	challenge          string                // WWW-Authenticate of a 401. Default: Bearer
	enrolling          *enrolling            // how users get a second factor. Nil: not by this API
	identityProbes     []identityProbe       // requests whose answers tell which product a server is
	whoAmI             string                // any role may read it
	usersPath          string                // the list of users, for service accounts (VBR)
	legacy             map[Grant]*legacyStep // grants that have a path of their own
	routes             []route
	plugIns            string // a segment of the paths of other services behind the server, see PlugIn
	answer             []answerKey
	ownKeys            []string // folded keys of token answers that no other product has
	mfaChallenge       string   // the answer that asks for a verification code, see MFAChallenge
	mfaChallengeStatus int      // its HTTP status. Default: 200
	dates              DateLayout
	logoutStatus       int
	logoutBody         string
	logoutField        string            // the form field that carries the token to end. Empty: the bearer says it
	defaultGrant       Grant             // of a client that names none. Default: such a request is refused
	messages           map[Reason]string // of refusals, where they differ from the others'
	serverFault        int               // the status of every fault of the server. Default: as it is
	appendError        func(dst []byte, r Refusal, form *refusalForm) ([]byte, string)
}

// Version is the request header with which a client selects the API version.
type Version struct {
	// Header is the name of the header, in its canonical form. Empty if the product has
	// none.
	Header string

	// Default is the value for a request without the header. Empty if the server
	// requires none.
	Default string

	// Known are the versions that servers may serve, newest first. Empty if the server
	// requires none.
	Known []string

	// Probe is a public path that shows whether the server serves a version. {version}
	// is replaced by the version. Empty if there is none.
	Probe string

	// Served are the HTTP statuses of Probe in a version that is served. Default: 200.
	Served []int
}

// None reports whether the product has no versions to choose from.
func (v Version) None() bool { return v.Header == "" && v.Default == "" && len(v.Known) == 0 }

// Fields are the names of form fields of the product's token request. An empty name
// means that the product does not have the field. The names grant_type, username,
// password and refresh_token are the same for all products.
type Fields struct {
	Code, MFAToken, MFACode, PublicKey, UserUID, ReadOnly, ShortLived string
	SAML, SSOToken, UpdaterToken, VBRToken                            string
	ClientID, Assertion                                               string
}

// Lockout is a maximum number of tries in any period of length Window.
type Lockout struct {
	Tries  int
	Window time.Duration
}

// Operation is a method and a path of the API.
type Operation struct{ Method, Path string }

// Lookup returns the product with a name in the configuration. The second result is
// false if there is none.
func Lookup(name string) (*Product, bool) {
	i := slices.IndexFunc(products, func(p *Product) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return products[i], true
}

// Names returns the names of the products in a fixed order.
func Names() []string {
	names := make([]string, len(products))
	for i, p := range products {
		names[i] = p.Name
	}
	return names
}

// Accepts reports whether an account of this product may have the grant g in the
// configuration.
func (p *Product) Accepts(g Grant) bool { return slices.Contains(p.Accounts, g) }

var products = []*Product{
	{
		Name: "vbr", Title: "Veeam Backup & Replication", Port: 9419,
		TokenPath: "/api/oauth2/token",
		// Required on every operation. 1.1-rev0 came with 12.0 and is still served
		// by 13.1, so one value suits every version 12 and 13. Version 11 knows only
		// 1.0-rev1 and 1.0-rev2, which 13.1 no longer serves.
		Version: Version{
			Header: "X-Api-Version", Default: "1.1-rev0",
			Known: []string{
				"1.3-rev2", "1.3-rev1", "1.3-rev0", "1.2-rev1", "1.2-rev0",
				"1.1-rev2", "1.1-rev1", "1.1-rev0", "1.0-rev2", "1.0-rev1",
			},
			Probe: "/swagger/v{version}/swagger.json",
		},
		Accounts: []Grant{GrantPassword, GrantRefreshToken, GrantAuthorizationCode, GrantVBRToken},
		// The revisions from 1.3-rev1 on document capitals, the older ones lower
		// case; the examples of all are in lower case.
		Values: map[Grant]string{
			GrantPassword:          "password",
			GrantRefreshToken:      "refresh_token",
			GrantAuthorizationCode: "authorization_code",
			GrantVBRToken:          "vbr_token", // deprecated from 1.3-rev0 on
		},
		Fields:        Fields{Code: "code", ShortLived: "use_short_term_refresh", VBRToken: "vbr_token"},
		CodePaths:     []string{"/api/oauth2/authorization_code"}, // until 12.3
		SessionLogout: &Operation{http.MethodPost, "/api/oauth2/logout"},
		Pace:          ratelimit.Rates{PerSecond: 10, PerMinute: 300},
		Lockout:       Lockout{Tries: 2, Window: 15 * time.Minute},
		LoginRefused:  http.StatusUnauthorized,
		RefusedHint: "the REST API also refuses accounts with multi-factor authentication: " +
			"mark the user as a service account in Users and Roles",
		MFAHint: "mark the user as a service account in Users and Roles",
		RefusedClue: "if the password is right, the log of the server (Svc.ResAPI.log) has \"Authenticated user\" before the refusal. " +
			"From version 13 on, check --login with an account that may read users shows which accounts are service accounts",
		identityProbes: []identityProbe{
			{path: "/api/v1/serverTime", status: http.StatusOK, key: "servertime"},
			{path: "/api/v1/serverTime", status: http.StatusBadRequest, wrongVersion: true},
		},
		whoAmI: "/api/v1/serverInfo", usersPath: "/api/v1/security/users",
		routes: []route{
			on("POST", "/api/oauth2/token", RouteToken),
			on("POST", "/api/oauth2/logout", RouteLogout),
			on("POST", "/api/oauth2/authorization_code", RouteAuthorizationCode),
			on("GET", "/api/v1/serverTime", RouteAnonymous),
			on("GET", "/api/v1/serverCertificate", RouteAnonymous),
			on("GET", "/swagger/{}", RouteAnonymous),
			on("GET", "/swagger/{}/swagger.json", RouteAnonymous),
		},
		plugIns: "extension",
		answer: []answerKey{
			accessKey, typeKey, refreshKey, expiresInKey, issuedKey, expiresKey,
			{name: "username"},
		},
		// The reference declares RFC 3339 and shows an offset; examples without one
		// exist beside it.
		dates:        DateLayout{Zone: ZoneOffset},
		logoutStatus: http.StatusOK, logoutBody: "{}",
		appendError: appendVBRError,
	},
	{
		Name: "vspc", Title: "Veeam Service Provider Console", Port: 1280,
		TokenPath:   "/api/v3/token",
		KeyServices: true,
		// Optional: without it the server answers as its own version does.
		Version: Version{Header: "X-Client-Version"},
		Accounts: []Grant{
			GrantPassword, GrantRefreshToken, GrantPublicKey, GrantAs, GrantAPIKey,
		},
		Values: map[Grant]string{
			GrantPassword:          "password",
			GrantMFA:               "mfa",
			GrantRefreshToken:      "refresh_token",
			GrantAuthorizationCode: "authorization_code", // answers the public key challenge
			GrantPublicKey:         "public_key",
			GrantAs:                "as",
		},
		Fields: Fields{
			Code: "code", MFAToken: "mfa_token", MFACode: "mfa_code",
			PublicKey: "public_key", UserUID: "userUid", ReadOnly: "readOnly",
		},
		// Tenants and their users are behind one server.
		Pace:         ratelimit.Rates{PerSecond: 20, PerMinute: 900},
		Lockout:      Lockout{Tries: 3, Window: 15 * time.Minute},
		OneSession:   true,
		LoginRefused: http.StatusBadRequest,
		RefusedHint:  "a user with multi-factor authentication may need an API key (grant api_key)",
		MFAHint:      "set totp_secret, or use an API key (grant api_key)",
		EnrollHint:   "the API takes the secret in the query of a request: the log of the server, or of a proxy that terminates TLS, may show it",
		enrolling:    &enrolling{offer: offerVSPC, accept: acceptVSPC, disable: disableVSPC},
		// It has no anonymous resource: its refusals have a form of their own.
		identityProbes: []identityProbe{{path: "/api/v3/about", status: http.StatusUnauthorized, key: "errors"}},
		whoAmI:         vspcMe,
		routes: []route{
			on("POST", "/api/v3/token", RouteToken),
			// Servers before API 3.6 have these too, and they yield tokens.
			on("POST", "/api/v3/authentication/usernamepassword", RouteToken),
			on("POST", "/api/v3/authentication/refresh", RouteToken),
			on("POST", "/api/v3/authentication/asymmetricalgorithm", RouteToken),
			on("PATCH", "/api/v3/authentication/asymmetricalgorithm", RouteToken),
			on("DELETE", "/api/v3/users/{}/tokens", RouteLogout),
		},
		ownKeys: []string{"encryptedcode"},
		answer: []answerKey{
			accessKey, typeKey, refreshKey,
			{name: "mfa_token", fallback: "null", required: true},
			{name: "encrypted_code", fallback: "null", required: true},
			expiresInKey,
		},
		mfaChallenge: `{"access_token":null,"token_type":null,"refresh_token":null,"mfa_token":$token,"encrypted_code":null,"expires_in":0}`,
		logoutStatus: http.StatusOK, logoutBody: "{}",
		messages:    map[Reason]string{ReasonBadCredential: vspcLoginMessage},
		serverFault: 520, // documented for all of 500 and above
		appendError: appendVSPCError,
	},
	{
		Name: "vspc35", Title: "Veeam Service Provider Console before API 3.6", Port: 1280,
		TokenPath: "/api/v3/token", // for verification codes
		Version:   Version{Header: "X-Client-Version"},
		Accounts:  []Grant{GrantPassword, GrantRefreshToken, GrantPublicKey, GrantAPIKey},
		Values: map[Grant]string{
			GrantPassword:          "password",
			GrantMFA:               "mfa",
			GrantRefreshToken:      "refresh_token",
			GrantAuthorizationCode: "authorization_code",
			GrantPublicKey:         "public_key",
		},
		Fields:       Fields{Code: "code", MFAToken: "mfa_token", MFACode: "mfa_code", PublicKey: "public_key"},
		Pace:         ratelimit.Rates{PerSecond: 20, PerMinute: 900},
		Lockout:      Lockout{Tries: 3, Window: 15 * time.Minute},
		OneSession:   true,
		LoginRefused: http.StatusUnauthorized,
		RefusedHint:  "a user with multi-factor authentication may need an API key (grant api_key)",
		MFAHint:      "set totp_secret, or use an API key (grant api_key)",
		EnrollHint:   "the API takes the secret in the query of a request: the log of the server, or of a proxy that terminates TLS, may show it",
		enrolling:    &enrolling{offer: offerVSPC, accept: acceptVSPC, disable: disableVSPC},
		// It shows nothing that its successor does not.
		identityProbes: []identityProbe{{path: "/api/v3/about", status: http.StatusUnauthorized, key: "errors"}},
		whoAmI:         vspcMe,
		legacy:         vspc35Steps,
		routes: []route{
			on("POST", "/api/v3/authentication/usernamepassword", RouteToken),
			on("POST", "/api/v3/authentication/refresh", RouteToken),
			on("POST", "/api/v3/authentication/asymmetricalgorithm", RouteToken),
			on("PATCH", "/api/v3/authentication/asymmetricalgorithm", RouteToken),
			on("POST", "/api/v3/token", RouteToken),
			on("DELETE", "/api/v3/users/{}/tokens", RouteLogout),
		},
		answer: []answerKey{
			{name: "accessToken", required: true},
			{name: "refreshToken", required: true},
			{name: "mfaToken", fallback: "null", required: true},
			{name: "expirationTime", required: true},
		},
		mfaChallenge: `{"data":{"accessToken":null,"refreshToken":null,"mfaToken":$token,"expirationTime":null}}`,
		dates:        DateLayout{Zone: ZoneUTC},
		logoutStatus: http.StatusOK, logoutBody: "{}",
		messages:    map[Reason]string{ReasonBadCredential: vspcLoginMessage},
		serverFault: 520,
		appendError: appendVSPC35Error,
	},
	{
		Name: "azure", Title: "Veeam Backup for Microsoft Azure", Port: 443,
		TokenPath: "/api/oauth2/token",
		Accounts: []Grant{
			GrantPassword, GrantRefreshToken, GrantSAML, GrantSSOToken, GrantUpdaterToken,
		},
		Values: map[Grant]string{
			GrantPassword:     "Password",
			GrantMFA:          "Mfa",
			GrantRefreshToken: "Refresh_token",
			GrantSAML:         "Saml",
			GrantSSOToken:     "SsoToken",
			GrantUpdaterToken: "Updater_token",
		},
		Fields: Fields{
			MFAToken: "mfa_token", MFACode: "mfa_code", ShortLived: "short_lived_refresh_token",
			SAML: "saml_response", SSOToken: "sso_token", UpdaterToken: "updater_token",
		},
		SessionLogout: &Operation{http.MethodDelete, "/api/oauth2/token"},
		Pace:          ratelimit.Rates{PerSecond: 10, PerMinute: 300},
		Lockout:       Lockout{Tries: 3, Window: 15 * time.Minute},
		LoginRefused:  http.StatusUnauthorized,
		MFAHint:       "set totp_secret",
		ScratchCodes:  true,
		// The path names the version of the product; the documents are of 8 and 8.1.
		enrolling: appliance("/api/v8/users", "/api/v8.1/users", "/api/v7/users", "/api/v6/users", "/api/v5/users"),
		identityProbes: []identityProbe{
			{path: "/api/v8/system/serviceIsUp", status: http.StatusOK},
			{path: "/api/v7/system/serviceIsUp", status: http.StatusOK},
			{path: "/api/v8.1/system/serviceIsUp", status: http.StatusOK},
		},
		whoAmI: "/api/v8/system/about",
		routes: []route{
			on("POST", "/api/oauth2/token", RouteToken),
			on("DELETE", "/api/oauth2/token", RouteLogout),
			// The guide names these for the step with the verification code.
			on("POST", "/{}/token", RouteToken),
			on("POST", "/api/{}/token", RouteToken),
			on("GET", "/api/{}/system/serviceIsUp", RouteAnonymous),
			on("GET", "/swagger/{}", RouteAnonymous),
			on("GET", "/swagger/{}/swagger.json", RouteAnonymous),
		},
		ownKeys: []string{"usertype", "latestnewsshown", "shortlived"},
		answer: []answerKey{
			accessKey, typeKey, refreshKey, expiresInKey, issuedKey, expiresKey,
			{name: "userId"},
			{name: "username"},
			{name: "roleName"},
			{name: "userType", fallback: `"Internal"`},
			{name: "latestNewsShown", fallback: "true"},
			{name: "mfa_enabled", fallback: "false"},
			{name: "shortLived", fallback: "false"},
		},
		mfaChallenge: `{"token_type":"bearer","expires_in":0,".issued":"0001-01-01T00:00:00Z",".expires":"0001-01-01T00:00:00Z",` +
			`$userId"username":$username,$roleName"userType":"Internal","latestNewsShown":true,"mfa_enabled":true,"mfa_token":$token,"shortLived":false}`,
		dates:        DateLayout{Fraction: 7, Zone: ZoneUTC},
		logoutStatus: http.StatusNoContent,
		appendError:  appendAzureError,
	},
	{
		Name: "aws", Title: "Veeam Backup for AWS", Port: 11005,
		TokenPath: "/api/v1/token",
		// Required. Servers serve a window of revisions: 1.4-rev0 is in the published
		// windows of 6a, 7 and 8, the most of any revision.
		Version: Version{
			Header: "X-Api-Version", Default: "1.4-rev0",
			Known: []string{
				"1.8-rev0", "1.7-rev1", "1.7-rev0", "1.6-rev0", "1.5-rev1", "1.5-rev0",
				"1.4-rev0", "1.3-rev0", "1.2-rev0", "1.1-rev0", "1.0-rev0",
			},
			Probe: "/api/v1/users/isFirstLogin",
		},
		Accounts: []Grant{GrantPassword, GrantRefreshToken, GrantAuthorizationCode},
		Values: map[Grant]string{
			GrantPassword:          "password",
			GrantMFA:               "mfa",
			GrantRefreshToken:      "refresh_token",
			GrantAuthorizationCode: "authorization_code",
		},
		Fields:        Fields{Code: "code", MFAToken: "mfa_token", MFACode: "mfa_code"},
		CodePaths:     []string{"/api/v1/token/authorization_code", "/api/v1/token/authorizationCode"},
		SessionLogout: &Operation{http.MethodDelete, "/api/v1/token"},
		Pace:          ratelimit.Rates{PerSecond: 10, PerMinute: 300},
		Lockout:       Lockout{Tries: 3, Window: 15 * time.Minute},
		LoginRefused:  http.StatusUnauthorized,
		MFAHint:       "set totp_secret",
		ScratchCodes:  true,
		enrolling:     appliance("/api/v1/users"),
		identityProbes: []identityProbe{
			{path: "/api/v1/users/isFirstLogin", status: http.StatusOK, key: "isfirstlogin"},
			{path: "/api/v1/users/isFirstLogin", status: http.StatusBadRequest, wrongVersion: true},
		},
		whoAmI: "/api/v1/system/version",
		routes: []route{
			on("POST", "/api/v1/token", RouteToken),
			on("DELETE", "/api/v1/token", RouteLogout),
			on("POST", "/api/v1/token/authorization_code", RouteAuthorizationCode),
			on("POST", "/api/v1/token/authorizationCode", RouteAuthorizationCode),
			on("GET", "/api/v1/users/isFirstLogin", RouteAnonymous),
			on("POST", "/api/v1/users/checkInstanceId", RouteAnonymous),
			on("POST", "/api/v1/users/createDefaultUser", RouteAnonymous),
			on("GET", "/api/v1/licenseAgreement", RouteAnonymous),
			on("GET", "/api/v1/licenseAgreement/accepted", RouteAnonymous),
			on("POST", "/api/v1/licenseAgreement/accept", RouteAnonymous),
			on("GET", "/api/v1/licenseAgreement/download", RouteAnonymous),
			on("GET", "/api/v1/problems/{}", RouteAnonymous),
			on("GET", "/swagger/{}", RouteAnonymous),
			on("GET", "/swagger/{}/swagger.json", RouteAnonymous),
		},
		answer: []answerKey{
			accessKey, typeKey, refreshKey, expiresInKey, issuedKey, expiresKey,
			// The examples with a code, and with a verification code, have none; of a
			// refresh token there is no example.
			{name: "username", password: true},
		},
		mfaChallenge: `{"username":$username,"mfa_enabled":true,"mfa_token":$token}`,
		dates:        DateLayout{Zone: ZoneNone},
		logoutStatus: http.StatusNoContent,
		appendError:  appendAWSError,
	},
	gcp,
	vb365,
	one,
	em,
}
