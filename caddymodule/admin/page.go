// The page for operators: at the admin endpoint, and read-only at a site.

package admin

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/page"
)

// operatorsPage is the page of this process.
func operatorsPage(readOnly bool) *page.Page {
	return &page.Page{
		Record: caddymodule.Record(), Sessions: adminapi.Sessions{State: caddymodule.State()}, Tokens: adminapi.Tokens{Holders: caddymodule.Holders()},
		ReadOnly: readOnly,
	}
}

// parseApp parses the global option veeam_auth. Syntax:
//
//	veeam_auth {
//		page [<address>]
//	}
func parseApp(d *caddyfile.Dispenser, before any) (any, error) {
	d.Next() // the name of the option
	if before != nil {
		return nil, d.Err("veeam_auth is set twice: write all its options into one block")
	}
	if d.NextArg() {
		return nil, d.Err("veeam_auth accepts a block only: write page into it")
	}
	app := new(caddymodule.App)
	for d.NextBlock(0) {
		switch option := d.Val(); {
		case option == "{" && app.PageRaw != nil:
			return nil, d.Err("page accepts an address and no block: write page localhost:2021, or page alone")
		case option != "page":
			return nil, d.Errf("unrecognized option '%s' of veeam_auth: allowed: page", option)
		}
		operators := new(OperatorsPage)
		if d.NextArg() {
			operators.Listen = d.Val()
		}
		if app.PageRaw != nil {
			return nil, d.Err("page is set twice")
		}
		if d.NextArg() {
			return nil, d.Err("page accepts one address: write page localhost:2021, or page alone")
		}
		if err := operators.read(); err != nil {
			return nil, d.WrapErr(err)
		}
		app.PageRaw = caddyconfig.JSON(operators, nil)
	}
	return httpcaddyfile.App{Name: caddymodule.AppID, Value: caddyconfig.JSON(app, nil)}, nil
}

// AdminPage serves the page for operators at the admin endpoint, if the global option
// `veeam_auth` has `page`:
//
//	GET /veeam_auth/
type AdminPage struct{}

// CaddyModule returns the Caddy module information.
func (AdminPage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.veeam_auth_page", New: func() caddy.Module { return new(AdminPage) }}
}

// Routes returns the route of the page.
func (AdminPage) Routes() []caddy.AdminRoute {
	return adminRoutes(map[string]adminapi.Handler{page.Path: operatorsPage(false).ServeHTTP})
}

// Page serves the page for operators, read-only, to callers that an earlier handler such
// as `basic_auth` or a client certificate has authenticated. All others are refused. It
// requires the global option `veeam_auth { page }`.
type Page struct{}

const pageDirective = "veeam_auth_page"

// CaddyModule returns the Caddy module information.
func (Page) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.veeam_auth_page", New: func() caddy.Module { return new(Page) }}
}

func parsePage(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the name of the directive
	if h.NextArg() || h.NextBlock(0) {
		return nil, h.Errf("%s accepts neither arguments nor a block", pageDirective)
	}
	return new(Page), nil
}

// Provision checks that there is a page.
func (*Page) Provision(ctx caddy.Context) error {
	app, err := ctx.App(caddymodule.AppID)
	if err != nil {
		return err
	}
	if app.(*caddymodule.App).PageRaw == nil {
		return errors.New("veeam_auth_page requires page in the global option veeam_auth")
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (*Page) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	user, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).GetString("http.auth.user.id")
	if user == "" && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("veeam_auth_page: no earlier handler has authenticated the caller: write basic_auth or client_auth"))
	}
	if user != "" {
		r = r.WithContext(adminapi.WithOperator(r.Context(), user))
	}
	err := operatorsPage(true).ServeHTTP(w, r)
	if failed, ok := errors.AsType[*adminapi.Error](err); ok {
		return caddyhttp.Error(failed.Status, failed.Err)
	}
	return err
}

// Interface guards
var (
	_ caddy.AdminRouter           = (*AdminPage)(nil)
	_ caddy.Provisioner           = (*Page)(nil)
	_ caddyhttp.MiddlewareHandler = (*Page)(nil)
)
