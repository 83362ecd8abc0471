// Package admin holds the Caddy modules through which operators see and act: the admin
// endpoints for sessions and tokens, and the page. Packages adminapi and page answer.
//
//	admin.api.veeam_auth_sessions  admin.go  lists and ends sessions at servers
//	admin.api.veeam_auth_tokens    admin.go  lists and revokes the tokens of clients
//	admin.api.veeam_auth_keys      admin.go  lists, issues, rotates and revokes the keys of clients
//	admin.api.veeam_auth_approvals admin.go  lists, approves and denies requests that wait for an approval
//	admin.api.veeam_auth_page      page.go   serves the page
//	http.handlers.veeam_auth_page  page.go   serves it at a site, read-only, with the Caddyfile directive veeam_auth_page
//	veeam_auth.page                listen.go whether there is a page, and a listener of its own for it
//	veeam_auth                     page.go   the global option of the Caddyfile
package admin

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func init() {
	caddy.RegisterModule(Tokens{})
	caddy.RegisterModule(Keys{})
	caddy.RegisterModule(Approvals{})
	caddy.RegisterModule(Sessions{})
	caddy.RegisterModule(AdminPage{})
	caddy.RegisterModule(Page{})
	caddy.RegisterModule(OperatorsPage{})

	httpcaddyfile.RegisterGlobalOption(caddymodule.AppID, parseApp)
	httpcaddyfile.RegisterHandlerDirective(pageDirective, parsePage)
	httpcaddyfile.RegisterDirectiveOrder(pageDirective, httpcaddyfile.Before, "reverse_proxy")
}

// Sessions is the part of the admin API for the sessions at Veeam servers that
// this process has needed since its start. No response contains a token.
//
//	GET  /veeam_auth/sessions
//
// lists them.
//
//	POST /veeam_auth/sessions/forget {"account": "<name>"}
//	POST /veeam_auth/sessions/login  {"account": "<name>", "force": <bool>}
//	POST /veeam_auth/sessions/logout {"account": "<name>"}
//
// discard a session, replace it with a new one, and end it at the server. All three
// lift the hold on a refused credential, also in the shared cache. The body may also
// contain `product` and `origin`, if an account has sessions at several servers, and
// `purpose`, if it has several at one. The response lists the results. A login spends a try of the user's lock-out budget. It
// requires `force` to spend the last one, or to log in when none is left.
//
//	POST /veeam_auth/sessions/code       {"account": "<name>", "code": "<digits>", "force": <bool>}
//	POST /veeam_auth/sessions/credential {"account": "<name>", "secret": "<secret>", "grant": "<grant>"}
//
// log in now with a verification code that a person enters, or with a new one-time secret
// of the account's grant: a refresh token, an authorization code, a SAML response, a
// token or an assertion. Both are used once and stored nowhere.
type Sessions struct{}

// CaddyModule returns the Caddy module information.
func (Sessions) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_sessions",
		New: func() caddy.Module { return new(Sessions) },
	}
}

// Routes returns the routes of the endpoints.
func (Sessions) Routes() []caddy.AdminRoute {
	return adminRoutes(adminapi.Sessions{State: caddymodule.State(), Tell: logAct}.Routes())
}

// Tokens is the part of the admin API for the tokens of clients. No response
// contains a token.
//
//	GET /veeam_auth/tokens
//
// lists the clients and all other callers that got tokens since Caddy started.
//
//	POST /veeam_auth/tokens/revoke {"client": "<name>"}
//
// revokes all tokens that the client got so far: at this process immediately, at other
// processes with the same storage within a second. A name that is not in the list is
// refused, unless the body has "force": true.
type Tokens struct{}

// CaddyModule returns the Caddy module information.
func (Tokens) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_tokens",
		New: func() caddy.Module { return new(Tokens) },
	}
}

// Routes returns the routes of the endpoints.
func (Tokens) Routes() []caddy.AdminRoute {
	return adminRoutes(adminapi.Tokens{Holders: caddymodule.Holders(), Tell: logAct}.Routes())
}

// Keys is the part of the admin API for the keys of clients.
//
//	GET /veeam_auth/keys
//
// lists them, without the keys.
//
//	POST /veeam_auth/keys/issue  {"client": "<name>", "seconds": <number>}
//	POST /veeam_auth/keys/rotate {"name": "<key>", "overlap_seconds": <number>, "seconds": <number>}
//	POST /veeam_auth/keys/revoke {"name": "<key>"}
//
// issue a key, issue its successor, and revoke it: at this process immediately, at other
// processes with the same storage within a second. The answer of the first two has the
// key, which is not stored. The body of the first may have a `name`, a `preset`, an
// `account` and addresses under `from`.
type Keys struct{}

// CaddyModule returns the Caddy module information.
func (Keys) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_keys",
		New: func() caddy.Module { return new(Keys) },
	}
}

// Routes returns the routes of the endpoints.
func (Keys) Routes() []caddy.AdminRoute {
	return adminRoutes(adminapi.Keys{Holders: caddymodule.Holders(), Accounts: caddymodule.State().Names, Tell: logAct}.Routes())
}

// Approvals is the part of the admin API for approvals of requests.
//
//	GET /veeam_auth/approvals
//
// lists the requests that wait, and what became of others within the last hour. Secrets in
// them are masked.
//
//	POST /veeam_auth/approvals/approve {"id": "<approval>"}
//	POST /veeam_auth/approvals/deny    {"id": "<approval>"}
//
// decide about one. The answer describes it. An approved request can be denied until it has
// passed.
type Approvals struct{}

// CaddyModule returns the Caddy module information.
func (Approvals) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.veeam_auth_approvals",
		New: func() caddy.Module { return new(Approvals) },
	}
}

// Routes returns the routes of the endpoints.
func (Approvals) Routes() []caddy.AdminRoute {
	return adminRoutes(adminapi.Approvals{Tell: logAct}.Routes())
}

// logAct logs an action of an operator.
func logAct(act adminapi.Act) {
	caddymodule.Record().Acted(act)
	fields := make([]zap.Field, 0, 7)
	for _, text := range []struct{ key, value string }{
		{"account", act.Account}, {"server", act.Server}, {"client", act.Client}, {"operator", act.Operator}, {"remote_addr", act.Address},
	} {
		if text.value != "" {
			fields = append(fields, zap.String(text.key, text.value))
		}
	}
	if act.Forced {
		fields = append(fields, zap.Bool("force", true))
	}
	log := caddy.Log().Named("admin.api.veeam_auth")
	if act.Err != nil {
		log.Warn("act of an operator failed: "+act.Name, append(fields, zap.String("reason", string(veeam.ReasonOf(act.Err))), zap.Error(act.Err))...)
		return
	}
	log.Info("act of an operator: "+act.Name, fields...)
}

var errLoading = errors.New("the configuration is not loaded yet: try again")

// adminRoutes returns routes whose errors Caddy answers. Caddy's admin API answers before the
// first configuration is loaded: until then nothing is known of what is configured.
func adminRoutes(handlers map[string]adminapi.Handler) (routes []caddy.AdminRoute) {
	for path, handle := range handlers {
		routes = append(routes, caddy.AdminRoute{Pattern: path, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			if caddy.ActiveContext().Context == nil {
				return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errLoading}
			}
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
	_ caddy.AdminRouter = (*Sessions)(nil)
	_ caddy.AdminRouter = (*Tokens)(nil)
	_ caddy.AdminRouter = (*Keys)(nil)
	_ caddy.AdminRouter = (*Approvals)(nil)
)
