// The row of Veeam Backup for Google Cloud, a relative of AWS.

package veeam

import (
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

// What the documents of gcp do not show - errors, logout, codes, dates - is as at AWS.
var gcp = &Product{
	Name: "gcp", Title: "Veeam Backup for Google Cloud", Port: 13140,
	TokenPath: "/api/v1/token",
	// Required by the reference. The revisions that a server serves cannot be read
	// without a session; the login shows them.
	Version: Version{
		Header: "X-Api-Version", Default: "1.4-rev0",
		Known: []string{"1.4-rev0", "1.3-rev0", "1.2-rev0", "1.1-rev0", "1.0-rev0"},
	},
	Accounts: []Grant{GrantPassword, GrantRefreshToken, GrantAuthorizationCode},
	Values: map[Grant]string{
		GrantPassword:          "password",
		GrantMFA:               "mfa",
		GrantRefreshToken:      "refresh_token",
		GrantAuthorizationCode: "authorization_code",
	},
	Fields: Fields{
		Code: "code", MFAToken: "mfa_token", MFACode: "mfa_code", ShortLived: "use_short_term_refresh",
	},
	CodePaths:     []string{"/api/v1/token/authorization_code", "/api/v1/token/authorizationCode"},
	SessionLogout: &Operation{http.MethodDelete, "/api/v1/token"},
	Pace:          ratelimit.Rates{PerSecond: 10, PerMinute: 300},
	Lockout:       Lockout{Tries: 3, Window: 15 * time.Minute},
	LoginRefused:  http.StatusUnauthorized,
	MFAHint:       "set totp_secret",
	ScratchCodes:  true,
	whoAmI:        "/api/v1/version",
	routes: []route{
		on("POST", "/api/v1/token", RouteToken),
		on("DELETE", "/api/v1/token", RouteLogout),
		on("POST", "/api/v1/token/authorization_code", RouteAuthorizationCode),
		on("POST", "/api/v1/token/authorizationCode", RouteAuthorizationCode),
	},
	answer:             []answerKey{accessKey, typeKey, refreshKey, expiresInKey, issuedKey, expiresKey},
	mfaChallenge:       `{"mfa_token":$token}`,
	mfaChallengeStatus: http.StatusAccepted,
	dates:              DateLayout{Zone: ZoneNone},
	logoutStatus:       http.StatusNoContent,
	appendError:        appendAWSError,
}
