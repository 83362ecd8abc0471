// Veeam Service Provider Console: its row of the product table, its documents and its resources.

package veeamtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func vspc() *product {
	return &product{
		base:        "/api/v3",
		tokenPath:   "/api/v3/token",
		routes:      vspcRoutes,
		build:       "9.1.0.30345",
		defaultRole: "SP Administrator",
		skew:        2, // a minute, as the user guide says
		access:      time.Hour,
		refresh:     48 * time.Hour,
		mint:        signed(jwt.SigningMethodRS256, vspcClaims),
		grants: map[string]func(*exchange){
			"password":           vspcLimits(passwordGrant),
			"mfa":                vspcLimits(mfaGrant),
			"refresh_token":      vspcLimits(refreshGrant),
			"as":                 vspcLimits(asGrant),
			"public_key":         publicKeyGrant,
			"authorization_code": decryptedCodeGrant,
		},
		dialect: dialect{
			success: func(x *exchange, i issue) any {
				bearer := "bearer"
				return vspcToken{AccessToken: &i.access, TokenType: &bearer, RefreshToken: &i.refresh, ExpiresIn: x.expiresIn(i.lifetime)}
			},
			challenge: func(x *exchange, a *account, mfaToken string) any {
				return vspcToken{MFAToken: &mfaToken, ExpiresIn: json.RawMessage("0")}
			},
			refusals: vspcRefusals,
			refusal:  vspcRefusal,
		},
		problems: vspcProblems,
		problem:  vspcError,
	}
}

// vspcClaims has its times as strings, as the one token that Veeam printed.
func vspcClaims(c claimSet) (access, refresh jwt.MapClaims) {
	claims := func(kind string, expires time.Time) jwt.MapClaims {
		return jwt.MapClaims{
			"iat": fmt.Sprint(c.now.Unix()), "exp": fmt.Sprint(expires.Unix()), "sub": c.account.UID, "jti": uuid(),
			"name": c.account.Username, "lid": "1", "uid": c.account.UID, "ts": c.id, "scope": "2", "kind": kind,
		}
	}
	return claims("1", c.access), claims("2", c.refresh)
}

type vspcToken struct {
	AccessToken   *string         `json:"access_token"`
	TokenType     *string         `json:"token_type"`
	RefreshToken  *string         `json:"refresh_token"`
	MFAToken      *string         `json:"mfa_token"`
	EncryptedCode *string         `json:"encrypted_code"`
	ExpiresIn     json.RawMessage `json:"expires_in,omitempty"`
}

// vspcLimits refuses fields that are longer than the schema allows.
func vspcLimits(grant func(*exchange)) func(*exchange) {
	limits := map[string]int{"username": 2048, "password": 128, "refresh_token": 2048, "mfa_code": 100}
	return func(x *exchange) {
		for name, limit := range limits {
			if len([]rune(x.form.get(name))) > limit {
				x.refuseToken(badRequest, name)
				return
			}
		}
		grant(x)
	}
}

type vspcOAuthError struct {
	Error       string  `json:"error"`
	Description string  `json:"error_description"`
	URI         *string `json:"error_uri"`
}

func vspcRefusal(x *exchange, p problem) (string, any) {
	if p.status == http.StatusTooManyRequests {
		return vspcError(x, p)
	}
	return jsonType, vspcOAuthError{Error: p.code, Description: strings.Replace(p.message, "{field}", p.field, 1)}
}

type vspcErrors struct {
	Errors []vspcErrorEntry `json:"errors"`
}

type vspcErrorEntry struct {
	Message    string `json:"message,omitempty"`
	Type       string `json:"type"`
	Code       int    `json:"code"`
	RetryAfter int    `json:"retryAfter,omitempty"`
}

func vspcError(x *exchange, p problem) (string, any) {
	entry := vspcErrorEntry{p.message, p.kind, p.status, x.retry}
	if code, err := strconv.Atoi(p.code); err == nil {
		entry.Code = code // a number of VSPC's own
	}
	return jsonType, vspcErrors{[]vspcErrorEntry{entry}}
}

const vspcLoginFailed = "Cannot complete login due to incorrect username or password, or no sufficient rights."

var vspcRefusals = map[reason]problem{
	badRequest:       {status: 400, code: "invalid_request", message: "The value of {field} is not valid."},
	missingField:     {status: 400, code: "invalid_request", message: "The parameter {field} is missing."},
	unsupportedMedia: {status: 415, code: "invalid_request", message: "The request body must be application/x-www-form-urlencoded."},
	unknownGrant:     {status: 400, code: "unsupported_grant_type", message: "The grant type is not supported."},
	badCredentials:   {status: 400, code: "invalid_request", message: vspcLoginFailed},
	badMFAToken:      {status: 400, code: "invalid_grant", message: "The MFA token is not valid."},
	badCode:          {status: 400, code: "invalid_grant", message: "The verification code is not valid."},
	badRefresh:       {status: 400, code: "invalid_grant", message: "The refresh token is not valid."},
	expiredRefresh:   {status: 400, code: "invalid_grant", message: "The refresh token has expired."},
	throttled:        {status: 429, kind: "transport"},
	badUser:          {status: 400, code: "invalid_request", message: "There is no such user."},
	notAllowed:       {status: 400, code: "unauthorized_client", message: "The user may not act as others."},

	badAuthorizationCode: {status: 400, code: "invalid_grant", message: "The authorization code is not valid."},
}

var vspcProblems = map[reason]problem{
	badRequest:       {status: 400, kind: "logical", message: "The request is not valid."},
	unsupportedMedia: {status: 415, kind: "transport", message: "Unsupported media type."},
	noBearer:         {status: 401, kind: "security", message: "Authorization is required."},
	badBearer:        {status: 401, kind: "security", message: "Authorization is required."},
	expiredBearer:    {status: 401, kind: "security", message: "Authorization is required."},
	forbidden:        {status: 403, kind: "security", message: "Access is denied."},
	readOnlyToken:    {status: 403, kind: "security", message: "The token allows reading only."},
	notFound:         {status: 404, kind: "logical", message: "The resource does not exist."},
	methodNotAllowed: {status: 405, kind: "transport", message: "The method is not allowed."},
	conflict:         {status: 409, kind: "logical", message: "The resource exists."},
	noPrivateKey:     {status: 400, kind: "logical", code: "1210", message: "The container holds no private key."},
	throttled:        {status: 429, kind: "transport"},
	serverFault:      {status: 520, kind: "unspecified", message: "The server met an unexpected condition."},
}

func vspcRoutes(s *Server) []route {
	return []route{
		{"POST", "/api/v3/token", grants, serveToken},
		{"GET", "/api", plain, serveSwaggerPage},
		{"GET", "/api/v3/about", protected, func(x *exchange) {
			x.data(map[string]any{"serverVersion": s.product.build, "patches": []any{}})
		}},
		{"GET", "/api/v3/organizations", protected, func(x *exchange) {
			x.list(map[string]any{"instanceUid": "d7b0c1b8-0d5d-4a86-9c55-4f7f3cf3b1c5", "name": "Alpha", "type": "Company", "taxId": nil})
		}},
		{"GET", "/api/v3/organizations/companies", protected, func(x *exchange) {
			x.list(map[string]any{"instanceUid": "d7b0c1b8-0d5d-4a86-9c55-4f7f3cf3b1c5", "name": "Alpha", "status": "Active"})
		}},
		{"GET", "/api/v3/infrastructure/backupServers/repositories", protected, func(x *exchange) { x.list([]any{}...) }},
		{"GET", "/api/v3/users", protected, func(x *exchange) {
			var users []any
			for _, a := range x.s.listAccounts() {
				users = append(users, vspcUser(a))
			}
			x.list(users...)
		}},
		{"GET", "/api/v3/users/me", protected, func(x *exchange) { x.data(vspcUser(x.user())) }},
		{"DELETE", "/api/v3/users/{userUid}/tokens", ending, func(x *exchange) {
			if !x.s.endUser(x.params["userUid"]) {
				x.refuse(notFound)
				return
			}
			x.json(http.StatusOK, map[string]any{"data": nil})
		}},
		{"GET", "/api/v3/users/{userUid}/logins", protected, serveLogins},
		{"POST", "/api/v3/users/{userUid}/logins/asymmetricalgorithm", protected, serveAddPublicKey},
		{"POST", "/api/v3/users/{userUid}/logins/apikey", protected, serveAddAPIKey},
		{"POST", "/api/v3/users/{userUid}/logins/totp", protected, serveAddTOTP},
		{"DELETE", "/api/v3/users/{userUid}/logins/{loginId}", protected, serveDeleteLogin},
		{"GET", "/api/v3/authentication/keys/rsa", protected, serveRSA},
		{"GET", "/api/v3/authentication/keys/rsa-pkcs12", protected, servePKCS12},
		{"POST", "/api/v3/authentication/keys/rsa-pkcs12/decrypt", protected, serveDecryptPKCS12},
		{"GET", "/api/v3/authentication/keys/totp-secret", protected, serveTOTPSecret},
		{"POST", "/api/v3/discovery/rules/{ruleUid}/start", protected, serveStartRule},
		{"GET", "/api/v3/asyncActions/{actionId}", protected, serveAction},
		{"GET", "/api/v3/asyncActions/{actionId}/result", protected, serveActionResult},
	}
}

func vspcUser(a Account) map[string]any {
	return map[string]any{
		"instanceUid": a.UID, "userName": a.Username, "role": a.Role, "status": "Enabled",
		"mfaStatus": map[bool]string{true: "Enabled", false: "Disabled"}[a.TOTPSecret != ""],
	}
}

// data is VSPC's envelope for one resource, list the one for collections.
func (x *exchange) data(v any) { x.json(http.StatusOK, map[string]any{"data": v}) }

func (x *exchange) list(items ...any) {
	x.json(http.StatusOK, map[string]any{
		"meta": map[string]any{"pagingInfo": map[string]int{"total": len(items), "count": len(items), "offset": 0}},
		"data": items,
	})
}

// endUser ends every session of a user, and reports whether there is such a user.
func (s *Server) endUser(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accountByUID(uid)
	if a == nil {
		return false
	}
	a.endAll()
	s.count.Logouts++
	return true
}
