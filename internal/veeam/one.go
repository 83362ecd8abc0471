// The row of Veeam ONE, whose sessions end by a token in a form.

package veeam

import (
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

var one = &Product{
	Name: "one", Title: "Veeam ONE", Port: 1239,
	TokenPath: "/api/token",
	// The token endpoint has no version, resources have it in their paths. One that is
	// not served is answered with 400.
	Version: Version{
		Default: "v2.3", Known: []string{"v2.3", "v2.2", "v2.1"},
		Probe:  "/api/{version}/about",
		Served: []int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden},
	},
	Accounts: []Grant{GrantPassword, GrantRefreshToken},
	Values: map[Grant]string{
		GrantPassword:     "password",
		GrantRefreshToken: "refresh_token",
	},
	SessionLogout:  &Operation{http.MethodPost, "/api/revoke"},
	logoutField:    "token",
	defaultGrant:   GrantPassword, // documented
	Pace:           ratelimit.Rates{PerSecond: 10, PerMinute: 300},
	Lockout:        Lockout{Tries: 3, Window: 15 * time.Minute},
	OneSession:     true,
	LoginRefused:   http.StatusBadRequest,
	MFAHint:        "use a user without multi-factor authentication",
	identityProbes: []identityProbe{{path: "/api/v0/about", status: http.StatusBadRequest, key: "detail"}},
	whoAmI:         "/api/{version}/about",
	routes: []route{
		on("POST", "/api/token", RouteToken),
		// With UserSid in the place of a token it ends all sessions of a user.
		on("POST", "/api/revoke", RouteLogout),
		on("GET", "/swagger/{}", RouteAnonymous),
		on("GET", "/swagger/{}/swagger.json", RouteAnonymous),
	},
	ownKeys: []string{"userrole"},
	answer: []answerKey{
		accessKey, refreshKey,
		{name: "token_type", fallback: `"Bearer"`, required: true},
		expiresInKey,
		{name: "user", fallback: `""`},
		{name: "user_role", fallback: `""`},
	},
	logoutStatus: http.StatusOK,
	appendError:  appendONEError,
}

// oneProblems are the types of problems: sections of the standards that define their
// statuses.
var oneProblems = map[int]string{
	http.StatusBadRequest:          "rfc7231#section-6.5.1",
	http.StatusUnauthorized:        "rfc7235#section-3.1",
	http.StatusForbidden:           "rfc7231#section-6.5.3",
	http.StatusMethodNotAllowed:    "rfc7231#section-6.5.5",
	http.StatusTooManyRequests:     "rfc6585#section-4",
	http.StatusInternalServerError: "rfc7231#section-6.6.1",
}

func appendONEError(dst []byte, r Refusal, _ *refusalForm) ([]byte, string) {
	kind := "about:blank"
	if section := oneProblems[r.Status]; section != "" {
		kind = "https://tools.ietf.org/html/" + section
	}
	dst = appendProblem(dst, kind, r.Status)
	dst = append(dst, `,"detail":`...)
	dst = appendString(dst, r.Message)
	return append(dst, `,"instance":null}`...), contentProblem
}
