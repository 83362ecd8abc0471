// How the command finds the handler that a request would come to.

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
)

// guard is a handler veeam_auth of a configuration, with what leads to it.
type guard struct {
	name    string // addresses and hosts
	first   string // the first account
	handler *caddymodule.Handler
	close   context.CancelFunc

	raw      json.RawMessage
	listen   []string
	matchers []caddyhttp.RawMatcherSets // of the routes that lead here, outermost first
}

// guardOf finds the handler that a request would come to, and prepares what it
// needs for a decision.
func (c *configuration) guardOf(r *http.Request) (*guard, error) {
	var found []*guard
	if err := c.guards(&found); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{})
	if err != nil {
		return nil, err
	}
	ctx, stop := caddy.NewContext(ctx)
	g, err := choose(ctx, found, r)
	if err == nil && g == nil {
		var names strings.Builder
		for _, g := range found {
			names.WriteString("\n  " + g.name)
		}
		err = fmt.Errorf("the URL matches no site with veeam_auth of %s, or is ambiguous; the sites are:%s", c.name, names.String())
	}
	if err == nil {
		g.close = stop
		g.handler, err = caddymodule.PrepareExplain(ctx, g.raw, g.first)
	}
	if err != nil {
		stop()
		return nil, err
	}
	return g, nil
}

// choose finds the first handler that a request comes to, nil if there is none. A
// path alone leads to the only one.
func choose(ctx caddy.Context, all []*guard, r *http.Request) (*guard, error) {
	if r.Host == "" {
		if len(all) == 1 {
			return all[0], nil
		}
		return nil, nil
	}
	for _, g := range all {
		if fits, err := g.fits(ctx, r); fits || err != nil {
			return g, err
		}
	}
	return nil, nil
}

// guards collects the handlers of all servers.
func (c *configuration) guards(found *[]*guard) error {
	var app struct {
		Servers map[string]struct {
			Listen []string        `json:"listen"`
			Routes json.RawMessage `json:"routes"`
		} `json:"servers"`
	}
	if raw := c.rest.Apps["http"]; raw != nil {
		if err := json.Unmarshal(raw, &app); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		if err := guardsOf(server.Routes, guard{listen: server.Listen}, found); err != nil {
			return err
		}
	}
	if len(*found) == 0 {
		return errors.New("it has no handler veeam_auth in its routes")
	}
	return nil
}

// guardsOf collects the handlers of routes, and of those below.
func guardsOf(routes json.RawMessage, above guard, found *[]*guard) error {
	var list []struct {
		Match  caddyhttp.RawMatcherSets `json:"match"`
		Handle []json.RawMessage        `json:"handle"`
	}
	if routes == nil {
		return nil
	}
	if err := json.Unmarshal(routes, &list); err != nil {
		return err
	}
	for _, route := range list {
		here := above
		if len(route.Match) > 0 {
			here.matchers = append(slices.Clone(above.matchers), route.Match)
		}
		for i, raw := range route.Handle {
			var handler struct {
				Handler string          `json:"handler"`
				Routes  json.RawMessage `json:"routes"`
			}
			if err := json.Unmarshal(raw, &handler); err != nil {
				return err
			}
			if handler.Handler == moduleName {
				g := here
				g.raw, g.first, g.name = raw, firstAccount(route.Handle[i+1:]), here.title()
				*found = append(*found, &g)
				continue
			}
			if err := guardsOf(handler.Routes, here, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstAccount is the default account of the proxy behind a handler.
func firstAccount(behind []json.RawMessage) string {
	for _, raw := range behind {
		var proxy struct {
			Transport struct {
				Accounts []struct {
					Name string `json:"name"`
				} `json:"accounts"`
			} `json:"transport"`
		}
		if err := json.Unmarshal(raw, &proxy); err == nil && len(proxy.Transport.Accounts) > 0 {
			return proxy.Transport.Accounts[0].Name
		}
	}
	return "the default account"
}

// title names where a handler is reached.
func (g *guard) title() string {
	var text strings.Builder
	text.WriteString(strings.Join(g.listen, " "))
	for _, sets := range g.matchers {
		for _, set := range sets {
			var hosts []string
			if err := json.Unmarshal(set["host"], &hosts); err == nil {
				text.WriteString(" for " + strings.Join(hosts, ", "))
			}
		}
	}
	return text.String()
}

// fits reports whether a request comes to the handler.
func (g *guard) fits(ctx caddy.Context, r *http.Request) (bool, error) {
	if !slices.ContainsFunc(g.listen, func(address string) bool { return listens(address, r.URL) }) {
		return false, nil
	}
	for _, raw := range g.matchers {
		route := caddyhttp.Route{MatcherSetsRaw: raw}
		if err := route.ProvisionMatchers(ctx); err != nil {
			return false, err
		}
		if ok, err := route.MatcherSets.AnyMatchWithError(r); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// listens reports whether the port of a URL is one of an address. A unix socket and a
// socket that systemd hands over (fd/3) may be any.
func listens(address string, u *url.URL) bool {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil || parsed.IsUnixNetwork() || parsed.IsFdNetwork() {
		return err == nil
	}
	port := u.Port()
	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		}
	}
	number, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port)
	return err == nil && uint(number) >= parsed.StartPort && uint(number) <= parsed.EndPort
}
