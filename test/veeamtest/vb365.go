// Veeam Backup for Microsoft 365: its row of the product table, the versions that it serves side by side, its documents.

package veeamtest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const vb365Base = "/{version}"

func vb365() *product {
	return &product{
		base:         vb365Base,
		tokenPath:    vb365Base + "/token",
		routes:       vb365Routes,
		pathVersions: []string{"v6", "v7", "v8"},
		jsonBody:     true,
		exactGrants:  true,
		limits:       []tokenLimit{{1, time.Second}, {5, time.Minute}, {1500, time.Hour}},
		noRetryAfter: true,
		build:        "8.0.3.1044",
		access:       time.Hour,
		refresh:      24 * time.Hour,
		dates:        DateSevenDigits,
		mint:         vb365Tokens,
		guard:        antiforgery,
		grants: map[string]func(*exchange){
			"password":      unlessOperatorsOnly(passwordGrant),
			"refresh_token": refreshGrant,
			"operator":      assertionGrant,
			"integration":   unlessOperatorsOnly(integrationGrant),
			"urn:ietf:params:oauth:grant-type:jwt-bearer": unlessOperatorsOnly(assertionGrant),
		},
		dialect: dialect{
			success:  vb365Success,
			refusals: merge(vb365Problems, vb365Refusals),
			refusal:  vb365Error,
		},
		problems: vb365Problems,
		problem:  vb365Error,
	}
}

// vb365Version is what tells one version of the API from another.
type vb365Version struct {
	userName    bool // answers with tokens always have it
	antiforgery bool // a login sets a cookie unless it asks for none
	integration bool // there is a grant of that name
	errorCode   bool // in errors
	stackTrace  bool // in errors
	logout      int  // the status of a logout; 0 where there is none
}

var vb365Versions = map[string]vb365Version{
	"v6": {userName: true, integration: true},
	"v7": {userName: true, integration: true, antiforgery: true, errorCode: true, logout: http.StatusOK},
	"v8": {antiforgery: true, errorCode: true, stackTrace: true, logout: http.StatusNoContent},
}

// version365 is the version that the request's path names. Paths without one are answered as the oldest answers.
func (x *exchange) version365() vb365Version {
	if segments := normalize(rawPath(x.r)); len(segments) > 0 && x.s.serves(segments[0]) {
		return vb365Versions[strings.ToLower(segments[0])]
	}
	return vb365Versions["v6"]
}

// vb365Tokens are a JWT and an opaque text. The documents show neither.
func vb365Tokens(c claimSet) (access, refresh string) {
	return signJWT(jwt.SigningMethodRS256, jwt.MapClaims{
		"unique_name": c.account.Username, "jti": c.id, "nbf": c.now.Unix(), "exp": c.access.Unix(), "iat": c.now.Unix(),
	}), base64.StdEncoding.EncodeToString(randomBytes(48))
}

type vb365Token struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresIn    json.RawMessage `json:"expires_in,omitempty"`
	UserName     string          `json:"userName,omitempty"`
	Issued       string          `json:".issued,omitempty"`
	Expires      string          `json:".expires,omitempty"`
}

func vb365Success(x *exchange, i issue) any {
	t := vb365Token{i.access, "bearer", i.refresh, x.expiresIn(i.lifetime), "", x.s.date(i.issued), x.s.date(i.expires)}
	if x.version365().userName || x.s.cfg.username {
		t.UserName = i.account.Username
	}
	if i.guard != "" {
		http.SetCookie(x.w, &http.Cookie{Name: x.s.cfg.antiforgeryCookie, Value: i.guard, Path: "/", Secure: true, HttpOnly: true})
	}
	return t
}

// antiforgery makes the value of the cookie that a login sets unless it asks for none.
func antiforgery(x *exchange) string {
	if !x.version365().antiforgery || x.form.bool("disable_antiforgery_token") {
		return ""
	}
	value := base64.RawURLEncoding.EncodeToString(randomBytes(48))
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.issued = append(x.s.issued, value)
	return value
}

// guarded reports whether the cookie comes with t that must come with it.
func (x *exchange) guarded(t *token) bool {
	if t.guard == "" || x.s.cfg.antiforgeryReads && !t.refresh && reads(x.r.Method) {
		return true
	}
	cookies := x.r.CookiesNamed(x.s.cfg.antiforgeryCookie)
	return len(cookies) == 1 && cookies[0].Value == t.guard
}

// WithAntiforgeryCookie sets the name of the cookie that a login at VB365 sets.
// Undocumented; default: X-VB365-Antiforgery.
func WithAntiforgeryCookie(name string) Option {
	return func(s *Server) { s.cfg.antiforgeryCookie = name }
}

// WithAntiforgeryReads makes VB365 accept GET, HEAD and OPTIONS without the cookie of
// their token, as a script in the field suggests. Default: they are refused.
func WithAntiforgeryReads() Option { return func(s *Server) { s.cfg.antiforgeryReads = true } }

// WithRefusedStatus sets the status with which VB365 refuses a credential.
// Undocumented; default: 401.
func WithRefusedStatus(status int) Option { return func(s *Server) { s.cfg.refusedStatus = status } }

// WithOperatorsOnly makes VB365 accept the grant operator only, as with "Enable restore
// operator authentication only".
func WithOperatorsOnly() Option { return func(s *Server) { s.cfg.operatorOnly = true } }

func unlessOperatorsOnly(grant func(*exchange)) func(*exchange) {
	return func(x *exchange) {
		if x.s.cfg.operatorOnly {
			x.refuseToken(badCredentials)
			return
		}
		grant(x)
	}
}

// assertionGrant logs in the user whom an identity provider vouches for.
func assertionGrant(x *exchange) {
	fields, ok := x.require("client_id", "assertion")
	if !ok {
		return
	}
	x.s.mu.Lock()
	var a *account
	for _, candidate := range x.s.accounts {
		if candidate.ClientID == fields[0] && candidate.Assertion == fields[1] {
			a = candidate
		}
	}
	x.s.mu.Unlock()
	if a == nil {
		x.refuseToken(badCredentials)
		return
	}
	x.begin(a, x.wish())
}

// VB365IntegrationToken is the credential of the grant integration. The origin of the
// real value is not documented.
const VB365IntegrationToken = "aW50ZWdyYXRpb24vdG9rZW4rPz8="

func integrationGrant(x *exchange) {
	if !x.version365().integration {
		x.refuseToken(unknownGrant)
		return
	}
	canned("integration_token", VB365IntegrationToken, "")(x)
}

// vb365Error is the one error document, which grew from version to version.
func vb365Error(x *exchange, p problem) (string, any) {
	doc := map[string]any{"message": strings.Replace(p.message, "{field}", p.field, 1)}
	v := x.version365()
	if v.errorCode {
		doc["errorCode"] = nil
		if v.stackTrace && p.code != "" {
			doc["errorCode"] = p.code
		}
	}
	if v.stackTrace {
		doc["stackTrace"] = nil
	}
	return jsonType, doc
}

var vb365Problems = map[reason]problem{
	badRequest:       {status: 400, code: "ParameterValidationFailure", message: "The request is not valid."},
	noBearer:         {status: 401, code: "HttpError", message: "Authorization has been denied for this request."},
	badBearer:        {status: 401, code: "HttpError", message: "Authorization has been denied for this request."},
	expiredBearer:    {status: 401, code: "HttpError", message: "Authorization has been denied for this request."},
	forbidden:        {status: 403, code: "ResourceAccessDenied", message: "Access is denied."},
	readOnlyToken:    {status: 403, code: "ResourceAccessDenied", message: "Access is denied."},
	notFound:         {status: 404, code: "ResourceNotFound", message: "The resource was not found."},
	methodNotAllowed: {status: 405, code: "HttpError", message: "The requested resource does not support the method."},
	unsupportedMedia: {status: 415, code: "HttpError", message: "The media type is not supported."},
	throttled:        {status: 429, code: "HttpError", message: "Quota Exceeded"},
	serverFault:      {status: 500, code: "HttpError", message: "An internal error occurred."},
}

// vb365Refusals have no status where none is documented.
var vb365Refusals = map[reason]problem{
	missingField:   {status: 400, code: "ParameterValidationFailure", message: "The parameter {field} is missing."},
	unknownGrant:   {status: 400, code: "ParameterValidationFailure", message: "The grant type is not supported."},
	badCredentials: {code: "HttpError", message: "Incorrect user name or password."},
	badRefresh:     {code: "HttpError", message: "The refresh token is not valid."},
	expiredRefresh: {code: "HttpError", message: "The refresh token has expired."},

	badAuthorizationCode: {code: "HttpError", message: "The token is not valid."},
}

func vb365Routes(s *Server) []route {
	routes := []route{
		{"POST", vb365Base + "/token", grants, serveToken},
		{"GET", vb365Base + "/ServiceInstance", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]string{"installationId": "b1ecf1a5-90f8-4a17-a3a3-17a4a9e0a4b7", "version": s.product.build})
		}},
		{"GET", vb365Base + "/Organizations", protected, func(x *exchange) {
			x.page365(map[string]any{"id": "7f3c1c2e-64a1-4c63-9d9b-0b9b7d3f5c10", "name": "lab.onmicrosoft.example", "type": "Office365"})
		}},
		{"GET", vb365Base + "/Jobs", protected, func(x *exchange) {
			x.page365(map[string]any{"id": vb365JobID, "name": "Nightly", "isEnabled": true, "lastStatus": "Success"})
		}},
		{"POST", vb365Base + "/Jobs/{id}/start", protected, func(x *exchange) {
			if _, _, ok := x.digest(); ok {
				x.execute("start " + x.params["id"])
				x.json(http.StatusOK, map[string]any{"id": uuid(), "jobId": x.params["id"], "status": "Running"})
			}
		}},
		{"GET", vb365Base + "/RestorePortalSettings", protected, func(x *exchange) {
			x.json(http.StatusOK, map[string]any{"isServiceEnabled": false, "portalUri": "https://vb365.lab.local:4443"})
		}},
		{"POST", vb365Base + "/Reports/GenerateMailboxProtection", protected, func(x *exchange) {
			if _, _, ok := x.digest(); ok {
				x.w.Header().Set("Content-Disposition", `attachment; filename="MailboxProtection.pdf"`)
				x.write(http.StatusOK, "application/octet-stream", []byte("%PDF-1.7\n%%EOF\n"))
			}
		}},
	}
	for name, v := range maps.All(vb365Versions) {
		if v.logout == 0 || !s.serves(name) {
			continue
		}
		routes = append(routes,
			route{"POST", "/" + name + "/token/logout", ending, func(x *exchange) {
				x.logout()
				x.write(v.logout, "", nil)
			}},
			route{"POST", "/" + name + "/token/AuthCode", protected, func(x *exchange) {
				value := opaqueCode()
				s.putCode(value, x.account(), s.cfg.codeLifetime)
				x.json(http.StatusOK, map[string]string{"authCode": value})
			}})
	}
	return routes
}

const vb365JobID = "0f6f4b13-3c40-4d2c-8a3a-5f5d7f9f6a21"

// page365 answers with a collection, whose links have no host.
func (x *exchange) page365(items ...any) {
	x.json(http.StatusOK, map[string]any{
		"offset": 0, "limit": 30, "results": items,
		"_links": map[string]any{"self": map[string]string{"href": rawPath(x.r) + "?offset=0&limit=30"}},
	})
}
