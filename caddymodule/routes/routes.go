// Package routes says what identifies the routes on the way to a handler: matchers, other
// modules, and the users of basic_auth.
package routes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
)

// WithUsers adds the users of basic_auth.
func WithUsers(users map[string]string, handler *caddyauth.Authentication) map[string]string {
	if users = maps.Clone(users); users == nil { // others have the same
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

// MatchersText identifies matchers. Caddy loads those of a set in no defined order.
func MatchersText(sets caddyhttp.MatcherSets) string {
	texts := make([]string, len(sets))
	for i, set := range sets {
		matchers := make([]string, len(set))
		for j, m := range set {
			matchers[j] = ModuleText(m)
		}
		slices.Sort(matchers)
		texts[i] = strings.Join(matchers, " and ")
	}
	slices.Sort(texts)
	return " [" + strings.Join(texts, " or ") + "]"
}

// ModuleText returns a module's configuration, as far as the module has kept it.
func ModuleText(module any) string {
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
