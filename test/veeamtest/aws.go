// Veeam Backup for AWS: its row of the product table, its documents and its resources.

package veeamtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func aws() *product {
	return &product{
		base:      "/api/v1",
		tokenPath: "/api/v1/token",
		routes:    awsRoutes,
		versions:  []string{"1.0-rev0", "1.1-rev0", "1.2-rev0", "1.3-rev0", "1.4-rev0", "1.5-rev0", "1.6-rev0", "1.7-rev0", "1.8-rev0"},
		build:     "10.0.0.232",
		skew:      1, scratchCodes: true,
		defaultRole: "PortalAdministrator",
		access:      time.Hour,
		refresh:     2 * time.Hour,
		dates:       DateLocal,
		mint:        signed(jwt.SigningMethodRS512, vbrClaims),
		grants: map[string]func(*exchange){
			"password":           passwordGrant,
			"mfa":                mfaGrant,
			"refresh_token":      refreshGrant,
			"authorization_code": codeGrant,
		},
		dialect: dialect{
			success: awsSuccess,
			challenge: func(x *exchange, a *account, mfaToken string) any {
				return awsChallenge{a.Username, true, mfaToken}
			},
			refusals: merge(awsProblems, awsRefusals),
			refusal:  awsProblem,
		},
		problems: awsProblems,
		problem:  awsProblem,
	}
}

type awsToken struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresIn    json.RawMessage `json:"expires_in,omitempty"`
	Issued       string          `json:".issued,omitempty"`
	Expires      string          `json:".expires,omitempty"`
	Username     string          `json:"username,omitempty"`
}

type awsChallenge struct {
	Username   string `json:"username"`
	MFAEnabled bool   `json:"mfa_enabled"`
	MFAToken   string `json:"mfa_token"`
}

// awsSuccess names the user after a password, as the documents show it.
func awsSuccess(x *exchange, i issue) any {
	t := awsToken{i.access, "bearer", i.refresh, x.expiresIn(i.lifetime), x.s.date(i.issued), x.s.date(i.expires), ""}
	if i.grant == "password" || i.grant == "refresh_token" && x.s.cfg.refreshUsername {
		t.Username = i.account.Username
	}
	return t
}

type awsProblemDetails struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	ErrorCode string  `json:"errorCode"`
	Details   string  `json:"details"`
	Instance  string  `json:"instance"`
	Data      *string `json:"data"`
}

func awsProblem(x *exchange, p problem) (string, any) {
	details := p.message
	if p.field != "" {
		details = strings.Replace(details, "{field}", p.field, 1)
	}
	return problemType, awsProblemDetails{
		Type:  "https://" + x.r.Host + "/api/v1/problems/" + p.kind,
		Title: http.StatusText(p.status), Status: p.status, ErrorCode: p.code, Details: details, Instance: x.r.URL.Path,
	}
}

// awsKinds are the problems that have a page of their own.
var awsKinds = []string{
	"accessDenied", "noAccessToken", "invalidAccessToken", "expiredAccessToken", "resourceNotFound", "validationError",
	"serviceUnavailable", "notImplemented", "unknownError", "repositoryUsedByPolicy", "unsupportedApiVersion", "apiVersionUnspecified",
	"invalidApiVersion", "ambiguousApiVersion", "failedToRemoveUserPolicy", "policyAlreadyStarted", "licenseAgreementsIsNotAccepted",
}

var awsProblems = map[reason]problem{
	badRequest:       {status: 400, code: "UnexpectedContent", kind: "validationError", message: "The request is not valid."},
	versionMissing:   {status: 400, code: "UnexpectedContent", kind: "apiVersionUnspecified", message: "An API version is required, but was not specified."},
	versionUnknown:   {status: 400, code: "NotImplemented", kind: "unsupportedApiVersion", message: "The API version is not supported."},
	noBearer:         {status: 401, code: "AccessDenied", kind: "noAccessToken", message: "The request has no access token."},
	badBearer:        {status: 401, code: "InvalidToken", kind: "invalidAccessToken", message: "The access token is not valid."},
	expiredBearer:    {status: 401, code: "ExpiredToken", kind: "expiredAccessToken", message: "The access token has expired."},
	forbidden:        {status: 403, code: "AccessDenied", kind: "accessDenied", message: "Access is denied."},
	readOnlyToken:    {status: 403, code: "AccessDenied", kind: "accessDenied", message: "Access is denied."},
	notFound:         {status: 404, code: "NotFound", kind: "resourceNotFound", message: "The resource does not exist."},
	methodNotAllowed: {status: 405, code: "MethodNotAllowed", kind: "validationError", message: "The method is not allowed."},
	conflict:         {status: 409, code: "UnexpectedContent", kind: "validationError", message: "The resource is in another state."},
	unsupportedMedia: {status: 415, code: "UnexpectedContent", kind: "validationError", message: "The media type is not supported."},
	throttled:        {status: 429, code: "ServiceUnavailable", kind: "serviceUnavailable", message: "Too many requests."},
	serverFault:      {status: 500, code: "UnknownError", kind: "unknownError", message: "An internal error occurred."},
}

var awsRefusals = map[reason]problem{
	missingField:   {status: 400, code: "UnexpectedContent", kind: "validationError", message: "The field {field} is required."},
	unknownGrant:   {status: 400, code: "UnexpectedContent", kind: "validationError", message: "The grant type is not supported."},
	badCredentials: {status: 401, code: "AccessDenied", kind: "accessDenied", message: "The user name or password is incorrect."},
	badMFAToken:    {status: 401, code: "InvalidToken", kind: "accessDenied", message: "The MFA token is not valid."},
	badCode:        {status: 401, code: "AccessDenied", kind: "accessDenied", message: "The verification code is not valid."},
	badRefresh:     {status: 401, code: "InvalidToken", kind: "accessDenied", message: "The refresh token is not valid."},
	expiredRefresh: {status: 401, code: "ExpiredToken", kind: "accessDenied", message: "The refresh token has expired."},

	badAuthorizationCode: {status: 401, code: "InvalidToken", kind: "accessDenied", message: "The authorization code is not valid."},
}

func awsRoutes(s *Server) []route {
	routes := []route{
		{"POST", "/api/v1/token", grants, serveToken},
		{"DELETE", "/api/v1/token", ending, func(x *exchange) {
			x.logout()
			x.write(http.StatusNoContent, "", nil)
		}},
		{"GET", "/api/v1/users/isFirstLogin", anonymous, func(x *exchange) { x.json(http.StatusOK, map[string]bool{"isFirstLogin": false}) }},
		{"POST", "/api/v1/users/checkInstanceId", anonymous, func(x *exchange) { x.json(http.StatusOK, map[string]bool{"isValid": true}) }},
		{"POST", "/api/v1/users/createDefaultUser", anonymous, func(x *exchange) { x.refuse(conflict) }},
		{"GET", "/api/v1/licenseAgreement", anonymous, func(x *exchange) { x.json(http.StatusOK, map[string]string{"agreement": "Licence agreement"}) }},
		{"GET", "/api/v1/licenseAgreement/accepted", anonymous, func(x *exchange) { x.json(http.StatusOK, map[string]bool{"isAccepted": true}) }},
		{"POST", "/api/v1/licenseAgreement/accept", anonymous, func(x *exchange) { x.write(http.StatusNoContent, "", nil) }},
		{"GET", "/api/v1/licenseAgreement/download", anonymous, func(x *exchange) {
			x.write(http.StatusOK, "application/octet-stream", []byte("Licence agreement\n"))
		}},
		{"GET", "/api/v1/problems/{kind}", plain, func(x *exchange) {
			i := slices.IndexFunc(awsKinds, func(kind string) bool { return strings.EqualFold(kind, x.params["kind"]) })
			if i < 0 {
				x.refuse(notFound)
				return
			}
			x.write(http.StatusOK, "text/html; charset=utf-8", []byte("<!DOCTYPE html><html><body><h1>"+awsKinds[i]+"</h1></body></html>"))
		}},
		{"GET", "/api/v1/about", protected, func(x *exchange) { x.json(http.StatusOK, map[string]any{"serverVersion": s.product.build}) }},
		{"GET", "/api/v1/system/version", protected, func(x *exchange) { x.json(http.StatusOK, map[string]any{"version": s.product.build}) }},
		{"GET", "/api/v1/policies", protected, func(x *exchange) {
			x.json(http.StatusOK, awsPage(map[string]any{"id": "8f1bbd5c-6b0c-4d20-a6e0-7be4a7e0ad10", "name": "Daily", "isEnabled": true}))
		}},
		{"GET", "/api/v1/sessions", protected, func(x *exchange) { x.json(http.StatusOK, awsPage()) }},
		{"GET", "/api/v1/users", protected, func(x *exchange) {
			var users []any
			for _, a := range x.s.listAccounts() {
				users = append(users, map[string]any{"id": a.UID, "name": a.Username, "roleName": a.Role, "mfaEnabled": a.TOTPSecret != ""})
			}
			x.json(http.StatusOK, awsPage(users...))
		}},
		{"POST", "/api/v1/users/{id}/enableMfa", protected, func(x *exchange) {
			if e, ok := x.enrol(); ok {
				x.json(http.StatusOK, awsEnrolment{e.account.Username, x.s.qrString(e, "%40"), e.secret, e.scratch, e.token})
			}
		}},
		{"POST", "/api/v1/users/{id}/acceptMfa", protected, acceptMFA(http.StatusCreated)},
		{"POST", "/api/v1/users/{id}/disableMfa", protected, disableMFA(http.StatusOK)},
	}
	for _, name := range s.cfg.codePaths {
		routes = append(routes, route{"POST", "/api/v1/token/" + name, protected, serveCode})
	}
	return routes
}

type awsEnrolment struct {
	UserName     string   `json:"userName"`
	QRString     string   `json:"qrString"`
	SecretKey    string   `json:"secretKey"`
	ScratchCodes []string `json:"scratchCodes"`
	Token        string   `json:"token"`
}

func awsPage(items ...any) map[string]any {
	if items == nil {
		items = []any{}
	}
	return map[string]any{"totalCount": len(items), "results": items}
}
