// Package probes holds the Caddy modules that answer probes: whether the process lives,
// is ready, and has started. Package health decides.
//
//	admin.api.veeam_auth_health      at the admin endpoint
//	http.handlers.veeam_auth_health  at a site, with the Caddyfile directive veeam_auth_health
package probes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/health"
	"github.com/caddy-veeam/veeam-auth/policy"
)

func init() {
	caddy.RegisterModule(Admin{})
	caddy.RegisterModule(Handler{})

	httpcaddyfile.RegisterDirective(directive, parse)
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.Before, "handle")
}

// Admin is the part of the admin API that answers probes, see docs/health.md:
//
//	GET /veeam_auth/live
//	GET /veeam_auth/ready?account=<name>
//	GET /veeam_auth/startup
//
// The status is 200 or 503, the body tells about each account.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.veeam_auth_health", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the routes of the probes.
func (Admin) Routes() (routes []caddy.AdminRoute) {
	prober := &health.Prober{Standings: caddymodule.State().Standings, Loaded: loaded, Exiting: caddy.Exiting, Operator: true}
	for _, probe := range health.Probes {
		routes = append(routes, caddy.AdminRoute{
			Pattern: path.Join(health.Path, string(probe)),
			Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				prober.ServeProbe(w, r, probe)
				return nil
			}),
		})
	}
	return routes
}

// loaded reports whether a configuration is in force.
func loaded() bool { return caddy.ActiveContext().Context != nil }

// Handler is an HTTP handler that answers probes of orchestrators and load balancers at a
// site: `live`, `ready` and `startup` below a path. All other requests go to the next
// handler. The answers name accounts, but no server and no secret.
type Handler struct {
	// The path below which the probes are. Default: `/veeam_auth`.
	Path string `json:"path,omitempty"`

	// How long the last success of an account counts for `ready` if the account logs in
	// at the start and has no token at the moment. Default: `10m`.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	prober *health.Prober
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + directive, New: func() caddy.Module { return new(Handler) }}
}

// Provision prepares the handler.
func (h *Handler) Provision(caddy.Context) error {
	if err := policy.CheckLeast("max_age", time.Duration(h.MaxAge), leastAge); err != nil {
		return fmt.Errorf("veeam_auth_health: %w", err)
	}
	if h.Path == "" {
		h.Path = health.Path
	}
	h.prober = &health.Prober{Standings: caddymodule.State().Standings, Loaded: loaded, Exiting: caddy.Exiting, MaxAge: time.Duration(h.MaxAge)}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	probe, ok := health.At(h.Path, r.URL.Path)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	h.prober.ServeProbe(w, r, probe)
	return nil
}

const (
	directive = "veeam_auth_health"
	leastAge  = time.Second
)

// parse reads the handler:
//
//	veeam_auth_health [<matcher>] {
//		max_age <duration>
//	}
//
// A path as the matcher is also the path below which the probes are.
func parse(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler := new(Handler)
	var paths []string
	if json.Unmarshal(matchers["path"], &paths) == nil && len(paths) == 1 {
		if handler.Path = strings.TrimRight(paths[0], "*/"); handler.Path == health.Path {
			handler.Path = ""
		}
	}
	h.Next() // ExtractMatcherSet has gone back to before the directive
	if h.NextArg() {
		return nil, h.Errf("%s accepts a matcher only", directive)
	}
	for seen := false; h.NextBlock(0); seen = true {
		switch {
		case h.Val() != "max_age":
			return nil, h.Errf("unrecognized option %s (allowed: max_age)", h.Val())
		case seen:
			return nil, h.Err("max_age is set twice")
		}
		var text string
		if !h.Args(&text) || h.NextArg() {
			return nil, h.Err("max_age requires one value")
		}
		age, err := caddy.ParseDuration(text)
		if err != nil || age <= 0 {
			return nil, h.Errf("max_age: %q is not a duration above zero, for example 90s, 5m or 1h", text)
		}
		if err := policy.CheckLeast("max_age", age, leastAge); err != nil {
			return nil, h.WrapErr(err)
		}
		handler.MaxAge = caddy.Duration(age)
	}
	return h.NewRoute(matchers, handler), nil
}

// Interface guards
var (
	_ caddy.AdminRouter           = (*Admin)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
