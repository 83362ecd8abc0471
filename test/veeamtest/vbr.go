// Veeam Backup & Replication: its row of the product table, its documents and its resources.

package veeamtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What 12.3.1 and 13.1 serve.
var (
	vbr12Versions = []string{"1.0-rev1", "1.0-rev2", "1.1-rev0", "1.1-rev1", "1.1-rev2", "1.2-rev0", "1.2-rev1"}
	vbr13Versions = []string{"1.1-rev0", "1.1-rev1", "1.1-rev2", "1.2-rev0", "1.2-rev1", "1.3-rev0", "1.3-rev1", "1.3-rev2"}
)

// vbr12 still makes authorization codes.
func vbr12() *product {
	p := vbr(vbr12Versions, DateLocal, "12.3.1.1139")
	p.grants["authorization_code"] = codeGrant
	p.routes = func(s *Server) []route {
		return append(vbrRoutes(s), route{"POST", "/api/oauth2/authorization_code", protected, serveCode})
	}
	return p
}

// vbr13 manages MFA over REST, although it does not take part in it.
func vbr13() *product {
	p := vbr(vbr13Versions, DateOffset, "13.1.0.411")
	p.routes = func(s *Server) []route { return slices.Concat(vbrRoutes(s), vbr13Routes(), plugInRoutes(s)) }
	return p
}

func vbr(versions []string, dates DateStyle, build string) *product {
	return &product{
		base:      "/api/v1",
		tokenPath: "/api/oauth2/token",
		build:     build,
		writesLog: true,
		headers: map[string]string{
			"Cache-Control":             "private",
			"X-Frame-Options":           "SAMEORIGIN",
			"X-XSS-Protection":          "1; mode=block",
			"X-Content-Type-Options":    "nosniff",
			"Strict-Transport-Security": "max-age=31536000",
		},
		versions:    versions,
		defaultRole: "Backup Administrator",
		access:      15 * time.Minute,
		refresh:     14 * 24 * time.Hour,
		short:       func(access time.Duration) time.Duration { return access + 15*time.Minute },
		shortField:  "use_short_term_refresh",
		dates:       dates,
		mint:        signed(jwt.SigningMethodRS512, vbrClaims),
		grants: map[string]func(*exchange){
			"password":      passwordGrant,
			"refresh_token": refreshGrant,
			"vbr_token":     canned("vbr_token", VBRToken, ""),
		},
		dialect: dialect{
			success:  vbrSuccess,
			refusals: merge(vbrProblems, vbrRefusals),
			refusal:  vbrError,
		},
		problems: vbrProblems,
		problem:  vbrError,
	}
}

// VBRToken is the credential of the grant vbr_token. The origin of the real value is
// not documented.
const VBRToken = "dmJyL3BsYXRmb3JtK3Rva2VuPz8="

func vbrClaims(c claimSet) (access, refresh jwt.MapClaims) {
	short := "False"
	if c.short {
		short = "True"
	}
	// Real access tokens have no jti; without it two logins within a second would get the same token.
	access = jwt.MapClaims{
		"unique_name": c.account.Username, "jti": c.id, "aud": "access",
		"nbf": c.now.Unix(), "exp": c.access.Unix(), "iat": c.now.Unix(),
	}
	refresh = jwt.MapClaims{
		"unique_name": c.account.Username, "token_id": c.id, "short_term_expiration": short, "aud": "refresh",
		"nbf": c.now.Unix(), "exp": c.refresh.Unix(), "iat": c.now.Unix(),
	}
	return access, refresh
}

type vbrToken struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresIn    json.RawMessage `json:"expires_in,omitempty"`
	Issued       string          `json:".issued,omitempty"`
	Expires      string          `json:".expires,omitempty"`
	Username     string          `json:"username,omitempty"`
}

func vbrSuccess(x *exchange, i issue) any {
	t := vbrToken{i.access, "bearer", i.refresh, x.expiresIn(i.lifetime), x.s.date(i.issued), x.s.date(i.expires), ""}
	if x.s.cfg.username {
		t.Username = i.account.Username
	}
	return t
}

type vbrErrorDocument struct {
	ErrorCode  string  `json:"errorCode"`
	Message    string  `json:"message"`
	ResourceID *string `json:"resourceId"`
}

func vbrError(x *exchange, p problem) (string, any) {
	if p.status == http.StatusUnauthorized && x.access != grants && !x.s.cfg.bearerDocument {
		return "", nil
	}
	doc := vbrErrorDocument{ErrorCode: p.code, Message: p.message}
	if id, ok := x.params["id"]; ok && p.status == http.StatusNotFound {
		doc.ResourceID = &id
	}
	return jsonType, doc
}

var vbrProblems = map[reason]problem{
	badRequest:       {status: 400, code: "UnexpectedContent", message: "One or more request parameters are not valid."},
	unsupportedMedia: {status: 400, code: "UnexpectedContent", message: "One or more request parameters are not valid."},
	versionMissing:   {status: 400, code: "UnexpectedContent", message: "The x-api-version header is required."},
	versionUnknown:   {status: 400, code: "NotImplemented", message: "The specified API version is not supported."},
	noBearer:         {status: 401, code: "AccessDenied", message: "Unauthorized. Get bearer JWT token at /api/login"},
	badBearer:        {status: 401, code: "InvalidToken", message: "Unauthorized. Get bearer JWT token at /api/login"},
	expiredBearer:    {status: 401, code: "ExpiredToken", message: "Unauthorized. Get bearer JWT token at /api/login"},
	forbidden:        {status: 403, code: "AccessDenied", message: "Forbidden"},
	readOnlyToken:    {status: 403, code: "AccessDenied", message: "Forbidden"},
	notFound:         {status: 404, code: "NotFound", message: "Resource does not exist"},
	methodNotAllowed: {status: 405, code: "MethodNotAllowed", message: "HTTP Method not allowed"},
	throttled:        {status: 429, code: "ServiceUnavailable", message: "Too many requests."},
	serverFault: {
		status: 500, code: "ServiceUnavailable",
		message: "The request has been received but could not be completed because of an internal error at the server side.",
	},
}

var vbrRefusals = map[reason]problem{
	badCredentials: {status: 401, code: "AccessDenied", message: "Authentication failed"},
	badRefresh:     {status: 401, code: "InvalidToken", message: "The refresh token is not valid."},
	expiredRefresh: {status: 401, code: "ExpiredToken", message: "The refresh token has expired."},

	badAuthorizationCode: {status: 401, code: "AccessDenied", message: "Authentication failed"},
}
