// The admin endpoints.

package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
)

// AdminSessions is the part of the admin API that is about the sessions at Veeam
// servers which this process has needed so far. No answer holds a token.
//
//	GET  /veeam_auth/sessions
//
// lists them.
//
//	POST /veeam_auth/sessions/forget {"account": "<name>"}
//	POST /veeam_auth/sessions/login  {"account": "<name>", "force": <bool>}
//	POST /veeam_auth/sessions/logout {"account": "<name>"}
//
// throw a session away, replace it by a new one, and end it at the server. All
// three lift the hold of a refused credential, in the shared cache too. The
// body may also have `product` and `origin`, where an account has sessions at
// several servers. The answer lists what became of them. A login spends from the
// lock-out budget of the user, and its last try only with `force`, which also
// logs in where none is left.
type AdminSessions struct{}

// CaddyModule returns the Caddy module information.
func (AdminSessions) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_sessions",
		New: func() caddy.Module { return new(AdminSessions) },
	}
}

// Routes returns the routes of the endpoints.
func (AdminSessions) Routes() []caddy.AdminRoute {
	return adminRoutes(adminapi.Sessions{State: running.State}.Routes())
}

// AdminTokens is the part of the admin API that is about the tokens of clients. No
// answer holds a token.
//
//	GET /veeam_auth/tokens
//
// lists the clients, and who else has got tokens since Caddy has started.
//
//	POST /veeam_auth/tokens/revoke {"client": "<name>"}
//
// revokes all tokens that the client has got so far, at this process at once and
// at others with the same storage within a second. A name that is not in the list
// is refused, unless the body has "force": true.
type AdminTokens struct{}

// CaddyModule returns the Caddy module information.
func (AdminTokens) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_tokens",
		New: func() caddy.Module { return new(AdminTokens) },
	}
}

// Routes returns the routes of the endpoints.
func (AdminTokens) Routes() []caddy.AdminRoute {
	return adminRoutes(adminapi.Tokens{Holders: tokenHolders}.Routes())
}

// adminRoutes are routes whose errors Caddy answers.
func adminRoutes(handlers map[string]adminapi.Handler) (routes []caddy.AdminRoute) {
	for path, handle := range handlers {
		routes = append(routes, caddy.AdminRoute{Pattern: path, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			err := handle(w, r)
			if failed, ok := errors.AsType[*adminapi.Error](err); ok {
				return caddy.APIError{HTTPStatus: failed.Status, Err: failed.Err}
			}
			return err
		})})
	}
	return routes
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminSessions)(nil)
	_ caddy.AdminRouter = (*AdminTokens)(nil)
)
