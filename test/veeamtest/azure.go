// Veeam Backup for Microsoft Azure: its row of the product table, its documents and its resources.

package veeamtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const azureBase = "/api/{version}"

func azure() *product {
	return &product{
		base:         azureBase,
		tokenPath:    "/api/oauth2/token",
		routes:       azureRoutes,
		foldFields:   true,
		pathVersions: []string{"v8.1"}, pathPattern: regexp.MustCompile(`^v[2-8](\.\d+)?$`),
		build: "8.1.0.208",
		skew:  1, scratchCodes: true,
		defaultRole: "PortalAdmin",
		access:      time.Hour,
		refresh:     14 * 24 * time.Hour,
		short:       func(time.Duration) time.Duration { return 15 * time.Minute },
		shortField:  "short_lived_refresh_token",
		dates:       DateSevenDigits,
		mint:        signed(jwt.SigningMethodRS512, azureClaims),
		grants: map[string]func(*exchange){
			"password":      passwordGrant,
			"mfa":           mfaGrant,
			"refresh_token": refreshGrant,

			"saml":                canned("saml_response", AzureSAMLResponse, "IdentityProvider"),
			"ssotoken":            canned("sso_token", AzureSSOToken, "IdentityProvider"),
			"updater_token":       canned("updater_token", AzureUpdaterToken, "Internal"),
			"authorization_code":  canned("authorization_code", AzureAuthorizationCode, "Internal"),
			"authentication_code": canned("authorization_code", AzureAuthorizationCode, "Internal"),
		},
		dialect: dialect{
			success:   azureSuccess,
			challenge: azureChallenge,
			redirect:  azureRedirect,
			refusals:  merge(azureProblems, azureRefusals),
			refusal:   azureProblem,
		},
		problems: azureProblems,
		problem:  azureProblem,
	}
}

func azureClaims(c claimSet) (access, refresh jwt.MapClaims) {
	claims := func(audience string, expires time.Time) jwt.MapClaims {
		return jwt.MapClaims{
			"jti": c.id, "nameid": c.account.UID, "unique_name": c.account.Username, "role": c.account.Role,
			"nbf": c.now.Unix(), "exp": expires.Unix(), "iat": c.now.Unix(), "aud": audience,
		}
	}
	return claims(c.server.ids.accessAudience, c.access), claims(c.server.ids.refreshAudience, c.refresh)
}

type azureToken struct {
	AccessToken     string          `json:"access_token,omitempty"`
	TokenType       string          `json:"token_type"`
	RefreshToken    string          `json:"refresh_token,omitempty"`
	ExpiresIn       json.RawMessage `json:"expires_in,omitempty"`
	Issued          string          `json:".issued,omitempty"`
	Expires         string          `json:".expires,omitempty"`
	UserID          string          `json:"userId,omitempty"`
	Username        string          `json:"username,omitempty"`
	RoleName        string          `json:"roleName,omitempty"`
	UserType        string          `json:"userType,omitempty"`
	LatestNewsShown bool            `json:"latestNewsShown"`
	MFAEnabled      bool            `json:"mfa_enabled"`
	MFAToken        string          `json:"mfa_token,omitempty"`
	RedirectTo      string          `json:"redirectTo,omitempty"`
	ShortLived      bool            `json:"shortLived"`
}

// azureSuccess says that MFA is off even for a session that MFA opened, as the real server does.
func azureSuccess(x *exchange, i issue) any {
	return azureToken{
		AccessToken: i.access, TokenType: "bearer", RefreshToken: i.refresh, ExpiresIn: x.expiresIn(i.lifetime),
		Issued: x.s.date(i.issued), Expires: x.s.date(i.expires),
		UserID: i.account.UID, Username: i.account.Username, RoleName: i.account.Role, UserType: userType(i.userType),
		LatestNewsShown: true, ShortLived: i.short,
	}
}

func azureChallenge(x *exchange, a *account, mfaToken string) any {
	return azureToken{
		TokenType: "bearer", ExpiresIn: json.RawMessage("0"), Issued: zeroDate, Expires: zeroDate,
		UserID: a.UID, Username: a.Username, RoleName: a.Role, UserType: "Internal",
		LatestNewsShown: true, MFAEnabled: true, MFAToken: mfaToken,
	}
}

// azureRedirect sends a user of an identity provider there.
func azureRedirect(x *exchange, a *account) any {
	return azureToken{
		TokenType: "bearer", ExpiresIn: json.RawMessage("0"), Issued: zeroDate, Expires: zeroDate,
		Username: a.Username, UserType: "IdentityProvider", LatestNewsShown: true, RedirectTo: a.RedirectTo,
	}
}

func userType(t string) string {
	if t == "" {
		return "Internal"
	}
	return t
}

// The credentials of Azure's other grants. The origin of the real values is not
// documented.
const (
	AzureSAMLResponse      = "PHNhbWxwOlJlc3BvbnNlPi4uLjwvc2FtbHA6UmVzcG9uc2U+Pz8/Cg=="
	AzureSSOToken          = "c3NvL3Rva2VuK2Zvci90ZXN0cz8/Pw=="
	AzureUpdaterToken      = "dXBkYXRlci90b2tlbitmb3IvdGVzdHM/Pw=="
	AzureAuthorizationCode = "YXV0aG9yaXphdGlvbi9jb2RlK2Zvcj8/"
)

// canned is a grant that takes one value: from users of an identity provider if there is one, else from the default user.
func canned(field, value, userType string) func(*exchange) {
	return func(x *exchange) {
		fields, ok := x.require(field)
		if !ok {
			return
		}
		if x.plus(fields[0]) != value {
			x.refuseToken(badAuthorizationCode)
			return
		}
		user := DefaultUser
		for _, a := range x.s.listAccounts() {
			if a.RedirectTo != "" && userType == "IdentityProvider" {
				user = a.Username
			}
		}
		x.s.mu.Lock()
		a := x.s.account(user)
		x.s.mu.Unlock()
		w := x.wish()
		w.userType = userType
		x.begin(a, w)
	}
}

type azureProblemDetails struct {
	Type     string              `json:"type"`
	Title    string              `json:"title"`
	Status   int                 `json:"status"`
	Detail   string              `json:"detail,omitempty"`
	Instance string              `json:"instance,omitempty"`
	TraceID  string              `json:"traceId"`
	Errors   map[string][]string `json:"errors,omitempty"`
}

const problemType = "application/problem+json; charset=utf-8"

func azureProblem(x *exchange, p problem) (string, any) {
	d := azureProblemDetails{
		Type: "https://tools.ietf.org/html/" + p.kind, Title: http.StatusText(p.status), Status: p.status, Detail: p.message,
		TraceID: fmt.Sprintf("00-%x-%x-00", randomBytes(16), randomBytes(8)),
	}
	if p.status == http.StatusUnauthorized {
		d.Instance = x.r.URL.Path
	}
	if p.field != "" {
		d.Errors = map[string][]string{p.field: {p.message}}
		d.Title, d.Detail = "One or more validation errors occurred.", ""
	}
	return problemType, d
}

var azureProblems = map[reason]problem{
	badRequest:       {status: 400, kind: "rfc7231#section-6.5.1", message: "The request is not valid."},
	noBearer:         {status: 401, kind: "rfc7235#section-3.1", message: "Authorization is required."},
	badBearer:        {status: 401, kind: "rfc7235#section-3.1", message: "The access token is not valid."},
	expiredBearer:    {status: 401, kind: "rfc7235#section-3.1", message: "The access token has expired."},
	forbidden:        {status: 403, kind: "rfc7231#section-6.5.3", message: "Access is denied."},
	readOnlyToken:    {status: 403, kind: "rfc7231#section-6.5.3", message: "Access is denied."},
	notFound:         {status: 404, kind: "rfc7231#section-6.5.4", message: "The resource does not exist."},
	methodNotAllowed: {status: 405, kind: "rfc7231#section-6.5.5", message: "The method is not allowed."},
	conflict:         {status: 409, kind: "rfc7231#section-6.5.8", message: "The resource is in another state."},
	unsupportedMedia: {status: 415, kind: "rfc7231#section-6.5.13", message: "The media type is not supported."},
	throttled:        {status: 429, kind: "rfc6585#section-4", message: "Too many requests."},
	serverFault:      {status: 500, kind: "rfc7231#section-6.6.1", message: "An internal error occurred."},
}

var azureRefusals = map[reason]problem{
	missingField:   {status: 400, kind: "rfc7231#section-6.5.1", message: "The field is required."},
	unknownGrant:   {status: 400, kind: "rfc7231#section-6.5.1", message: "The value is not valid.", field: "grant_type"},
	badCredentials: {status: 401, kind: "rfc7235#section-3.1", message: "The user name or password is incorrect."},
	badMFAToken:    {status: 401, kind: "rfc7235#section-3.1", message: "The MFA token is not valid."},
	badCode:        {status: 401, kind: "rfc7235#section-3.1", message: "The verification code is not valid."},
	badRefresh:     {status: 401, kind: "rfc7235#section-3.1", message: "The refresh token is not valid."},
	expiredRefresh: {status: 401, kind: "rfc7235#section-3.1", message: "The refresh token has expired."},

	badAuthorizationCode: {status: 401, kind: "rfc7235#section-3.1", message: "The value is not valid or has been used."},
}
