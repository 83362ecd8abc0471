// The site of a handler in the configuration: the audience of its tokens, and the
// evidence for its callers.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-veeam/veeam-auth/caddymodule/routes"
	"github.com/caddy-veeam/veeam-auth/internal/account"
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

	// dials are the addresses of these servers, bound what identifies them with their
	// accounts, both with their placeholders.
	dials, bound []string

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
	lookingAround.Lock()
	defer lookingAround.Unlock()
	if known := h.stands.Load(); known.server == server {
		return known // another handler's first request has looked around
	}
	next := h.lookAround(server)
	h.stands.Store(next)
	return next
}

// lookingAround has one request at a time look around in a server, also after a reload.
var lookingAround sync.Mutex

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

// lookAround finds the handlers of a server, all at once, and returns the site of h. A site
// is identified by the way to the handler, which is the addresses of the server and the
// matchers of all routes (host names and paths), and by the servers and accounts behind it.
// Rules are not part of it, because they are checked for every request: changing a rule
// does not log clients out. Clients are not part of it either, because they must be
// configured with the same hash wherever their tokens are used.
func (h *Handler) lookAround(server *caddyhttp.Server) *site {
	f := &finder{server: server, seen: make(map[string]int), listen: strings.Join(slices.Sorted(slices.Values(server.Listen)), " ")}
	f.routes(server.Routes, "routes", nil)
	if server.Errors != nil {
		f.routes(server.Errors.Routes, "errors", nil)
	}
	for _, name := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
		f.routes(caddyhttp.RouteList{*server.NamedRoutes[name]}, "named "+name, nil)
	}
	known := h.stands.Load()
	if known.server == server {
		return known
	}
	return &site{server: server, audience: known.audience, upstreams: known.upstreams}
}

// finder looks for the handlers in the routes of a server.
type finder struct {
	server *caddyhttp.Server
	listen string
	seen   map[string]int // number of handlers of this kind, by the way to them
}

// routes searches a list of routes. users are those of basic_auth before it.
func (f *finder) routes(list caddyhttp.RouteList, way string, users map[string]string) {
	for i, route := range list {
		here := way + routes.MatchersText(route.MatcherSets)
		for j, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Handler:
				f.seen[here]++
				if handler.stands != nil {
					handler.stands.Store(f.site(handler, fmt.Sprintf("%s #%d", here, f.seen[here]), users, route.Handlers[j+1:], list[i+1:]))
				}
			case *caddyhttp.Subroute:
				f.routes(handler.Routes, here+" >", users)
				if handler.Errors != nil {
					f.routes(handler.Errors.Routes, here+" errors >", users)
				}
			case *caddyauth.Authentication:
				users = routes.WithUsers(users, handler)
			}
		}
	}
}

// site is the site of a handler. rest and behind are what follows it in its route, and the
// routes behind that.
func (f *finder) site(h *Handler, way string, users map[string]string, rest []caddyhttp.MiddlewareHandler, behind caddyhttp.RouteList) *site {
	var dials, texts []string
	proxy := routes.Proxy(rest)
	for i := 0; proxy == nil && i < len(behind); i++ {
		proxy = routes.Proxy(behind[i].Handlers)
	}
	accounts := ""
	if proxy != nil {
		dials, texts = routes.Upstreams(proxy)
		if t, ok := proxy.Transport.(*Transport); ok {
			if accounts = account.Identities(t.Accounts); t.BasePath != "" {
				texts = append(texts, "base_path "+t.BasePath)
			}
		}
	}
	upstreams := issuer.Digest(texts...)
	if len(texts) == 0 {
		upstreams = h.stands.Load().upstreams
	}
	return &site{
		server: f.server, upstreams: upstreams, users: users, dials: dials, bound: append(texts, accounts),
		audience: h.audienceOf("site", f.listen, way, upstreams, accounts),
	}
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
