// The row of Veeam Backup for Microsoft 365, whose paths name the API version.

package veeam

import (
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

var vb365 = &Product{
	Name: "vb365", Title: "Veeam Backup for Microsoft 365", Port: 4443,
	TokenPath: "/{version}/token",
	// One server serves several versions side by side, and a session is valid for all
	// of them (inferred: one service, one port, no version in the token).
	Version: Version{
		Default: "v8", Known: []string{"v8", "v7", "v6"},
		Probe:  "/{version}/ServiceInstance",
		Served: []int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden},
	},
	Accounts: []Grant{GrantPassword, GrantRefreshToken, GrantJWTBearer, GrantOperator},
	Values: map[Grant]string{
		GrantPassword:     "password",
		GrantRefreshToken: "refresh_token",
		GrantJWTBearer:    "urn:ietf:params:oauth:grant-type:jwt-bearer",
		GrantOperator:     "operator",
	},
	Fields: Fields{ClientID: "client_id", Assertion: "assertion"},
	// Without it the server sets a cookie that has to accompany the tokens.
	constants:     []field{{"disable_antiforgery_token", "true"}},
	SessionLogout: &Operation{http.MethodPost, "/{version}/token/logout"},
	// The quota of the token endpoint, for callers that are not on the server.
	Pace:         ratelimit.Rates{PerSecond: 1, PerMinute: 5, PerHour: 1500},
	throttleWait: time.Minute,
	Lockout:      Lockout{Tries: 3, Window: 15 * time.Minute},
	LoginRefused: http.StatusUnauthorized,
	refusedBy4xx: true,
	RefusedHint: "the REST API also refuses users with multi-factor authentication: mark the user as a service account; " +
		"if only restore operators may log in, use grant operator",
	MFAHint: "mark the user as a service account",
	identityProbes: []identityProbe{
		{path: "/v8/ServiceInstance", status: http.StatusUnauthorized, key: "message", absent: "/v0/ServiceInstance"},
		{path: "/v7/ServiceInstance", status: http.StatusUnauthorized, key: "message", absent: "/v0/ServiceInstance"},
		{path: "/v6/ServiceInstance", status: http.StatusUnauthorized, key: "message", absent: "/v0/ServiceInstance"},
	},
	whoAmI: "/{version}/ServiceInstance",
	routes: []route{
		on("POST", "/{}/token", RouteToken),
		on("POST", "/v7/token/logout", RouteLogout),
		on("POST", "/v8/token/logout", RouteLogout),
		// It yields a code that is a credential. Which login takes it is not documented.
		on("POST", "/{}/token/AuthCode", RouteClosed),
	},
	answer: []answerKey{
		accessKey, typeKey, refreshKey, expiresInKey,
		{name: "userName", fallback: `""`, dialect: true},
		issuedKey, expiresKey,
	},
	dates: DateLayout{Fraction: 7, Zone: ZoneUTC},
	dialects: map[string]dialect{
		"v6": {answerKeys: []string{"userName"}},
		"v7": {answerKeys: []string{"userName"}, errorKeys: []string{"errorCode"}, logout: http.StatusOK},
		"v8": {errorKeys: []string{"errorCode", "stackTrace"}, errorCodes: true, logout: http.StatusNoContent},
	},
	appendError: appendVB365Error,
}

// appendVB365Error has one form for all errors, which grew from version to version. In
// version 7 the code says only that a proxy is offline, so it is null here.
func appendVB365Error(dst []byte, r Refusal, _ *refusalForm) ([]byte, string) {
	dst = append(dst, `{"message":`...)
	dst = appendString(dst, r.Message)
	for _, key := range r.dialect.errorKeys {
		dst = append(dst, ',')
		dst = appendString(dst, key)
		dst = append(dst, ':')
		if key == "errorCode" && r.dialect.errorCodes {
			dst = appendString(dst, vb365ErrorCode(r.Status))
		} else {
			dst = append(dst, "null"...)
		}
	}
	return append(dst, '}'), contentJSON
}

// vb365ErrorCode is the code of version 8 for a status. HttpError stands for those
// without a code.
func vb365ErrorCode(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "ParameterValidationFailure"
	case http.StatusForbidden:
		return "ResourceAccessDenied"
	case http.StatusNotFound:
		return "ResourceNotFound"
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return "Timeout"
	}
	return "HttpError"
}
