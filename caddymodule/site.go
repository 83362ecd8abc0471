// The site of a handler in the configuration: the audience of its tokens, and the
// evidence for its callers.

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// site is the place of a handler in the configuration.
type site struct {
	server *caddyhttp.Server

	// audience is the audience of the tokens that are valid here.
	audience string

	// upstreams identifies the servers behind the handler.
	upstreams string

	// users are the users of basic_auth before the handler, each with a digest of its
	// password's hash.
	users map[string]string
}

// site returns the site of the handler on the server of a request. It is determined
// once for each server.
func (h *Handler) site(r *http.Request) *site {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	known := h.stands.Load()
	if !ok {
		return known // set by Provision
	}
	if known.server == server {
		return known
	}
	next := h.lookAround(server)
	h.stands.Store(next)
	return next
}

// audience is the audience of the tokens that are valid here.
func (h *Handler) audience(r *http.Request) string { return h.site(r).audience }

// loginScope identifies the servers for which the login of a passthrough user is valid:
// those that accepted its password. Sites with the same audience but other servers do
// not share logins.
func (h *Handler) loginScope(r *http.Request) string {
	return h.product.Name + " " + h.site(r).upstreams
}

// nowhere returns the site of a handler that is not found in a server. Its
// configuration identifies it.
func (h *Handler) nowhere() (*site, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return &site{audience: h.audienceOf("handler", string(text)), upstreams: issuer.Digest("handler", string(text))}, nil
}

// audienceOf returns the configured audience, otherwise one that differs if any of the
// parts differs.
func (h *Handler) audienceOf(parts ...string) string {
	if h.Audience != "" {
		return h.product.Name + " name:" + h.Audience
	}
	return h.product.Name + " site:" + issuer.Digest(parts...)
}

// checkAudience refuses names that are too long, or contain blanks or invisible
// characters.
func checkAudience(name string) error {
	if len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return errors.New("audience: the name exceeds 100 bytes or has blanks or control characters")
	}
	return nil
}

// lookAround finds the handler in a server. The site is identified by the way to the
// handler, which is the addresses of the server and the matchers of all routes (host
// names and paths), and by the servers and accounts behind it. Rules are not part of
// it, because they are checked for every request: changing a rule does not log clients
// out. Clients are not part of it either, because they must be configured with the same
// hash wherever their tokens are used.
func (h *Handler) lookAround(server *caddyhttp.Server) *site {
	f := &finder{handler: h, seen: make(map[string]int)}
	f.routes(server.Routes, "routes", nil)
	if server.Errors != nil {
		f.routes(server.Errors.Routes, "errors", nil)
	}
	for _, name := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
		f.routes(caddyhttp.RouteList{*server.NamedRoutes[name]}, "named "+name, nil)
	}
	known := h.stands.Load()
	if f.way == "" {
		return &site{server: server, audience: known.audience, upstreams: known.upstreams}
	}
	upstreams := issuer.Digest(f.upstreams...)
	if len(f.upstreams) == 0 {
		upstreams = known.upstreams
	}
	listen := strings.Join(slices.Sorted(slices.Values(server.Listen)), " ")
	return &site{
		server: server, upstreams: upstreams, users: f.users,
		audience: h.audienceOf("site", listen, f.way, upstreams, f.accounts),
	}
}

// finder looks for a handler in the routes of a server.
type finder struct {
	handler *Handler
	seen    map[string]int // number of handlers of this kind, by the way to them

	way       string // way to the handler, empty if it is not found
	users     map[string]string
	upstreams []string
	accounts  string
}

// routes searches a list of routes. users are those of basic_auth before it.
func (f *finder) routes(list caddyhttp.RouteList, way string, users map[string]string) {
	users = maps.Clone(users)
	for i, route := range list {
		here := way + matchersText(route.MatcherSets)
		for j, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Handler:
				f.seen[here]++
				if handler == f.handler {
					f.way = fmt.Sprintf("%s #%d", here, f.seen[here])
					f.users = maps.Clone(users)
					f.behind(append(caddyhttp.RouteList{{Handlers: route.Handlers[j+1:]}}, list[i+1:]...))
				}
			case *caddyhttp.Subroute:
				f.routes(handler.Routes, here+" >", users)
				if handler.Errors != nil {
					f.routes(handler.Errors.Routes, here+" errors >", users)
				}
			case *caddyauth.Authentication:
				users = withUsers(users, handler)
			}
		}
	}
}

// behind records the first proxy after the handler.
func (f *finder) behind(list caddyhttp.RouteList) {
	for _, route := range list {
		for _, handler := range route.Handlers {
			proxy, ok := handler.(*reverseproxy.Handler)
			if !ok {
				continue
			}
			for _, upstream := range proxy.Upstreams {
				f.upstreams = append(f.upstreams, upstream.Dial)
			}
			slices.Sort(f.upstreams)
			if proxy.DynamicUpstreams != nil {
				f.upstreams = append(f.upstreams, moduleText(proxy.DynamicUpstreams))
			}
			if t, ok := proxy.Transport.(*Transport); ok {
				f.accounts = accountsText(t)
				if t.BasePath != "" {
					f.upstreams = append(f.upstreams, "base_path "+t.BasePath)
				}
			}
			return
		}
	}
}

// accountsText identifies the users that requests may act as.
func accountsText(t *Transport) string {
	var text strings.Builder
	for _, a := range t.Accounts {
		text.WriteString(issuer.Digest(a.Name, a.Username, a.Grant, a.UserUID, a.Parent) + " ")
	}
	return text.String()
}

// withUsers adds the users of basic_auth.
func withUsers(users map[string]string, handler *caddyauth.Authentication) map[string]string {
	if users == nil {
		users = make(map[string]string)
	}
	for _, provider := range handler.Providers {
		basic, ok := provider.(*caddyauth.HTTPBasicAuth)
		if !ok {
			continue
		}
		for name, account := range basic.Accounts {
			users[name] = issuer.Digest("basic_auth", users[name], name, account.Password)
		}
	}
	return users
}

// matchersText identifies matchers. Caddy loads those of a set in no defined order.
func matchersText(sets caddyhttp.MatcherSets) string {
	texts := make([]string, len(sets))
	for i, set := range sets {
		matchers := make([]string, len(set))
		for j, m := range set {
			matchers[j] = moduleText(m)
		}
		slices.Sort(matchers)
		texts[i] = strings.Join(matchers, " and ")
	}
	slices.Sort(texts)
	return " [" + strings.Join(texts, " or ") + "]"
}

// moduleText returns a module's configuration, as far as the module has kept it.
func moduleText(module any) string {
	name := fmt.Sprintf("%T", module)
	if m, ok := module.(caddy.Module); ok {
		name = string(m.CaddyModule().ID)
	}
	text, err := json.Marshal(module)
	if err != nil {
		return name
	}
	return name + " " + string(text)
}

// vouch returns the current evidence for a caller, empty for one that is known by its
// address: a digest of the password hash of a client or user, or of the key of a
// certificate; for a passthrough user the servers of its login. A token is valid only
// while it equals the evidence at the login.
func (h *Handler) vouch(r *http.Request, caller *policy.Caller) string {
	switch caller.Via {
	case policy.ViaClient:
		if caller.Key != nil {
			return keyVouch + caller.Key.ID
		}
		if client := h.clients.Named(caller.Name); client != nil {
			return client.Vouch()
		}
	case policy.ViaCertificate:
		return tlspin.SPKI(r.TLS)
	case policy.ViaCaddy:
		if known := h.site(r).users[caller.Name]; known != "" {
			return known
		}
		return string(policy.ViaCaddy) // another module, whose users are not known
	case policy.ViaPassthrough:
		return h.site(r).upstreams // the login is in the token
	}
	return ""
}

// keyVouch begins the evidence of a login with a key. Its ID follows.
const keyVouch = "key:"

// subjectOf returns the subject of tokens for a caller. All tokens that descend from
// them expire with the caller's login or certificate.
func (h *Handler) subjectOf(r *http.Request, caller *policy.Caller) issuer.Subject {
	until := caller.Until
	if until.IsZero() {
		until = time.Now().Add(time.Duration(h.TokenMaxLifetime))
	}
	if caller.Via == policy.ViaCertificate && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		if end := r.TLS.VerifiedChains[0][0].NotAfter; end.Before(until) {
			until = end
		}
	}
	for _, end := range h.clients.Ends(caller) {
		if !end.IsZero() && end.Before(until) {
			until = end
		}
	}
	return issuer.Subject{
		Client: caller.Identity(), Account: caller.Account, Login: caller.Login, Vouch: h.vouch(r, caller), Family: caller.Family, Until: until,
	}
}
