// Enterprise Manager's row of the product table, and how it logs in.

package veeam

import (
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
)

var em = &Product{
	Name: "em", Title: "Veeam Backup Enterprise Manager", Port: 9398,
	TokenPath:     "/api/sessionMngr",
	Accounts:      []Grant{GrantPassword},
	Values:        map[Grant]string{GrantPassword: "password"},
	SessionLogout: &Operation{http.MethodDelete, "/api/logonSessions/{}"},
	Pace:          ratelimit.Rates{PerSecond: 10, PerMinute: 300},
	Lockout:       Lockout{Tries: 2, Window: 15 * time.Minute}, // the appliance locks as that of VBR
	LoginRefused:  http.StatusUnauthorized,
	RefusedHint:   "the user must be Portal Administrator, Portal User or Restore Operator, without multi-factor authentication",
	MFAHint:       "use a user without multi-factor authentication: the REST API does not support it",
	HTTP1:         true,
	Linked:        true,
	// The manual writes the name so, and clients look for it in this spelling. With a
	// cookie beside it the cookie counts, so that none is sent.
	carrier:        Carrier{Header: "X-RestSvcSessionId"},
	idle:           14 * time.Minute, // documented: 15
	challenge:      "Basic Realm=RestSvc",
	identityProbes: []identityProbe{{path: "/api/", status: http.StatusOK, key: "supportedversions"}},
	whoAmI:         "/api/logonSessions",
	legacy:         emSteps,
	routes: []route{
		on("POST", "/api/sessionMngr", RouteToken),
		on("DELETE", "/api/logonSessions/{}", RouteLogout),
		on("GET", "/api/logonSessions", RouteSession), // shows the sessions of all users
		on("GET", "/api/logonSessions/{}", RouteSession),
		on("GET", "/api", RouteAnonymous),
	},
	logoutStatus: http.StatusNoContent,
	messages: map[Reason]string{
		ReasonNoToken:      "Unauthorized. Log in at /api/sessionMngr.",
		ReasonBadToken:     "The session is invalid.",
		ReasonExpiredToken: "The session has expired.",
	},
	formats:     true,
	appendError: appendEMError,
}

// emSteps are the logins of Enterprise Manager. The version of the API in v is required.
var emSteps = map[Grant]*legacyStep{
	GrantPassword: {Operation: Operation{http.MethodPost, "/api/sessionMngr/?v=latest"}, basic: true},
}
