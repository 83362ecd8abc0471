// A handler and the transport behind it: what they say must fit, and Caddy
// provisions them apart.

package caddymodule

import (
	"fmt"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// routesPlace is where a handler stands: a server, and in it the module whose routes
// it is one of.
type routesPlace struct{ server, module any }

// placesOf are the places that a module is in, the innermost last. The module itself
// is left out.
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

// unpairedHandlers wait for the first transport behind them. Caddy provisions the
// handlers of a server in their order.
var unpairedHandlers = &handlerPairs{waiting: make(map[*Handler]routesPlace)}

type handlerPairs struct {
	mu      sync.Mutex
	waiting map[*Handler]routesPlace
}

func (p *handlerPairs) enter(ctx caddy.Context, h *Handler) {
	places := placesOf(ctx)
	if len(places) == 0 {
		return // provisioned by itself
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[h] = places[len(places)-1]
}

func (p *handlerPairs) leave(h *Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, h)
}

// before takes out the handlers whose requests a transport gets.
func (p *handlerPairs) before(ctx caddy.Context) (handlers []*Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, place := range placesOf(ctx) {
		for h, at := range p.waiting {
			if at == place {
				handlers = append(handlers, h)
				delete(p.waiting, h)
			}
		}
	}
	return handlers
}

// serves reports what does not fit between a handler and the transport that it hands
// requests to.
func (t *Transport) serves(h *Handler) error {
	product, err := LookupProduct(h.Product)
	if err != nil {
		return err
	}
	if product != t.product {
		return fmt.Errorf("the handler has product %s, its transport %s: set the same product in both", product.Name, t.product.Name)
	}
	for _, c := range h.Clients {
		if account, _ := account.Choose(t.Accounts, c.Account); c.Account != "" && account == nil {
			return fmt.Errorf("client %s: unknown account; write the name of an account of this block", c.Name)
		}
	}
	if name := h.ActAs; name != "" && !strings.Contains(name, "{") {
		if account, user := account.Choose(t.Accounts, name); account == nil || account.Template() && user == "" {
			return fmt.Errorf("act_as: no account named %s: write the name of an account, or a placeholder for one", name)
		}
	}
	return nil
}
