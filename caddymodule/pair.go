// The pairing of a handler and the transport behind it, whose options must fit,
// although Caddy provisions them separately.

package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/caddymodule/routes"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/page"
)

// routesPlace is the place of a handler: a server, and the module in it whose routes
// contain the handler.
type routesPlace struct{ server, module any }

// placesOf returns the places that contain a module, the innermost last, without the
// module itself.
func placesOf(ctx caddy.Context) (places []routesPlace) {
	server := ctx.Value(caddyhttp.ServerCtxKey)
	modules := ctx.Modules()
	if server == nil || len(modules) < 2 {
		return nil
	}
	for _, module := range modules[:len(modules)-1] {
		places = append(places, routesPlace{server, module})
	}
	return places
}

// pair is a handler in routes with what may send its requests on.
type pair struct {
	handler   *Handler
	routes    any
	candidate *forwarder.Candidate
}

// App is what one configuration knows of all its sites. Caddy makes one for each
// configuration that has a handler, and forgets it with the configuration.
type App struct {
	// PageRaw has the page for operators, as package admin serves it. Default: none.
	PageRaw json.RawMessage `json:"page,omitempty" caddy:"namespace=veeam_auth"`

	// waiting are the handlers without a transport so far, decided the places of all
	// handlers. Caddy provisions the handlers of a server in their order, one at a time.
	waiting map[*Handler]routesPlace
	decided map[routesPlace]bool

	page    page.Service // nil without a page
	events  *events.Queue
	digests []string // of the handlers and transports
	pairs   []pair   // whose handler may send requests on itself
	seen    map[any]bool
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: AppID, New: func() caddy.Module {
		return &App{waiting: make(map[*Handler]routesPlace), decided: make(map[routesPlace]bool), seen: make(map[any]bool)}
	}}
}

// AppID is the ID of the App, and the name of the global option of the Caddyfile.
const AppID = "veeam_auth"

// Start implements caddy.App.
func (a *App) Start() error {
	if a.page != nil { // first: an App that does not start is not stopped
		if err := a.page.Begin(); err != nil {
			return err
		}
	}
	running().Events.Use(a.events)
	a.warnWaiting()
	slices.Sort(a.digests) // Caddy provisions servers in no order
	running().page.Configured(issuer.Digest(a.digests...))
	for _, p := range a.pairs {
		found, err := p.candidate.Behind(p.handler, p.routes)
		if err != nil {
			p.handler.logger.Debug("requests are sent on by reverse_proxy", zap.NamedError("because", err))
		}
		p.handler.forwarder.Store(found)
	}
	return nil
}

// warnWaiting logs that handlers have no transport.
func (a *App) warnWaiting() {
	for h := range a.waiting {
		h.logger.Warn("no reverse_proxy with the transport veeam_auth is behind this handler in its routes: what it lets pass may be sent without a token; write both into one route")
	}
}

// Stop implements caddy.App.
func (a *App) Stop() error {
	running().Events.Leave(a.events)
	a.events.Close()
	if a.page != nil {
		return a.page.End()
	}
	return nil
}

// appAround returns the App of the configuration in which a module is provisioned, nil
// if the module is provisioned separately.
func appAround(ctx caddy.Context) (*App, []routesPlace, error) {
	places := placesOf(ctx)
	if len(places) == 0 {
		return nil, nil, nil
	}
	app, err := ctx.App(AppID)
	if err != nil {
		return nil, nil, fmt.Errorf("veeam_auth: %w", err)
	}
	return app.(*App), places, nil
}

// first reports whether this configuration asks for the first time for something that all
// its sites share, such as a server. Without an App it is always true.
func (a *App) first(shared any) bool {
	if a == nil {
		return true
	}
	before := a.seen[shared]
	a.seen[shared] = true
	return !before
}

// pair records a handler for the first transport behind it.
func (h *Handler) pair(ctx caddy.Context) error {
	app, places, err := appAround(ctx)
	if app == nil {
		return err
	}
	at := places[len(places)-1]
	if err := routes.CheckProxy(at.server.(*caddyhttp.Server), at.module, directive); err != nil {
		return fmt.Errorf("veeam_auth: %w", err)
	}
	if route := routes.Unreached(at.server.(*caddyhttp.Server), at.module, directive); route != nil && app.first(route) {
		h.logger.Warn("no request gets to one of the handlers veeam_auth: a reverse_proxy without a matcher is before it; write a matcher, as in veeam_auth /vbr/* https://vbr01.lab.local:9419")
	}
	app.waiting[h], app.decided[at], app.decided[routesPlace{server: at.server}] = at, true, true
	app.digests = append(app.digests, h.stands.Load().upstreams) // of all its options
	if app.page != nil {
		h.page, h.svc = running().page, running().page.Tee(h.svc)
	}
	return nil
}

// pair checks the transport against the handlers whose requests it gets.
func (t *Transport) pair(ctx caddy.Context) error {
	app, places, err := appAround(ctx)
	if app == nil {
		return err
	}
	switch server := places[0].server.(*caddyhttp.Server); {
	case slices.ContainsFunc(places, func(at routesPlace) bool { return app.decided[at] }):
	case !app.decided[routesPlace{server: server}] && len(server.NamedRoutes) == 0:
		return errors.New("veeam_auth: no handler veeam_auth is before the reverse_proxy with this transport; write one, because requests that it has not decided about are refused")
	default:
		t.logger.Warn("no handler veeam_auth is before this reverse_proxy in its routes: requests that none has decided about are refused; write both into one route")
	}
	proxy, ok := places[len(places)-1].module.(*reverseproxy.Handler)
	if ok {
		if err := cmp.Or(routes.CheckUpstreams(proxy), forwarder.CheckSelections(proxy)); err != nil {
			return fmt.Errorf("veeam_auth: %w", err)
		}
	}
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	app.digests = append(app.digests, issuer.Digest("transport", string(text)))
	for h, at := range app.waiting {
		if !slices.Contains(places, at) {
			continue
		}
		delete(app.waiting, h)
		if err := t.serves(h); err != nil {
			return fmt.Errorf("veeam_auth: %w", err)
		}
		if ok && h.Forward == forwarder.Auto {
			app.pairs = append(app.pairs, pair{h, at.module, forwarder.Look(ctx, proxy, t, t.HTTPTransport)})
		}
		if len(t.Accounts) > 0 {
			h.first = t.Accounts[0].Name
		}
	}
	return nil
}

// serves returns an error if the options of a handler and of the transport behind it do
// not fit.
func (t *Transport) serves(h *Handler) error {
	product, err := LookupProduct(h.Product)
	if err != nil {
		return err
	}
	if product != t.product {
		return fmt.Errorf("the handler has product %s, its transport %s: set the same product in both", product.Name, t.product.Name)
	}
	table := account.NewTable[struct{}](t.Accounts)
	for _, c := range h.Clients {
		if err := c.CheckAccounts(table.Known); err != nil {
			return err
		}
	}
	for _, provider := range h.TrustJWT {
		if err := provider.CheckAccounts(table.Known); err != nil {
			return err
		}
	}
	if name := h.ActAs; name != "" && !strings.Contains(name, "{") {
		if found, user := table.Find(name); found == nil || found.Template && user == "" {
			return fmt.Errorf("act_as: no account named %s: write the name of an account, or a placeholder for one", name)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.App    = (*App)(nil)
	_ caddy.Module = (*App)(nil)
)
