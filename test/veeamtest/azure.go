// Veeam Backup for Microsoft Azure: its row of the product table, its documents and its resources.

package veeamtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const azureBase = "/api/{version}"

func azure() *product {
	return &product{
		base:        azureBase,
		tokenPath:   "/api/oauth2/token",
		routes:      azureRoutes,
		foldFields:  true,
		passwordMFA: true,
		defaultRole: "PortalAdmin",
		access:      time.Hour,
		refresh:     14 * 24 * time.Hour,
		short:       func(time.Duration) time.Duration { return 15 * time.Minute },
		shortField:  "short_lived_refresh_token",
		dates:       DateSevenDigits,
		method:      jwt.SigningMethodRS512,
		claims:      azureClaims,
		grants: map[string]func(*exchange){
			"password":      passwordGrant,
			"mfa":           mfaGrant,
			"refresh_token": refreshGrant,
		},
		success:   azureSuccess,
		challenge: azureChallenge,
		refusals:  merge(azureProblems, azureRefusals),
		problems:  azureProblems,
		refusal:   azureProblem,
		problem:   azureProblem,
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
		UserID: i.account.UID, Username: i.account.Username, RoleName: i.account.Role, UserType: "Internal",
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
}

func azureRoutes() []route {
	return []route{
		{"POST", "/api/oauth2/token", grants, nil},
		{"DELETE", "/api/oauth2/token", ending, func(x *exchange) {
			x.logout()
			x.write(http.StatusNoContent, "", nil)
		}},
		{"GET", azureBase + "/system/serviceIsUp", anonymous, func(x *exchange) { x.json(http.StatusOK, true) }},
		{"GET", azureBase + "/settings/saml2/sp", anonymous, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"entityId": "https://azure.lab.local", "assertionConsumerUrl": "https://azure.lab.local/saml2/acs"})
		}},
		{"GET", azureBase + "/settings/saml2/idp", anonymous, func(x *exchange) { x.json(http.StatusOK, map[string]any{"isConfigured": false}) }},
		{"GET", azureBase + "/settings/saml2/sp/metadata", anonymous, func(x *exchange) {
			x.write(http.StatusOK, "application/octet-stream", []byte(`<?xml version="1.0"?><EntityDescriptor entityID="https://azure.lab.local"/>`))
		}},
		{"GET", azureBase + "/settings/saml2/sp/certificate", anonymous, func(x *exchange) {
			x.write(http.StatusOK, "application/octet-stream", CA().Raw)
		}},
		{"GET", azureBase + "/system/about", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"serverVersion": "8.1.0.208", "workerVersion": "8.1.0.208", "fileLevelRestoreVersion": "8.1.0.208"})
		}},
		{"GET", azureBase + "/system/serverInfo", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"serverName": "azure01", "azureRegion": "westeurope", "subscriptionId": "3d1d1c35-3a67-4a8f-9e7f-52c6b1b6c4c7"})
		}},
		{"GET", azureBase + "/policies/virtualMachines", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"offset": 0, "limit": 100, "totalCount": 1, "results": []any{
				map[string]any{"id": "4c62c4c1-35aa-4f94-9c8c-b4e0a6c5f6e8", "name": "Daily", "isEnabled": true, "priority": 1},
			}})
		}},
		{"GET", azureBase + "/users", protected, func(x *exchange) {
			var users []any
			for _, a := range x.s.listAccounts() {
				users = append(users, map[string]any{"id": a.UID, "name": a.Username, "roleName": a.Role, "mfaEnabled": a.TOTPSecret != ""})
			}
			x.json(http.StatusOK, map[string]any{"offset": 0, "limit": 100, "totalCount": len(users), "results": users})
		}},
	}
}
