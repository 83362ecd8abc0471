// Routes: classes of requests by method and path.

package veeam

import (
	"path"
	"strings"
)

// Route is a class of requests.
type Route int

// The routes. A request that matches none of the others is RouteProtected.
const (
	RouteProtected         Route = iota // requires a bearer token
	RouteToken                          // requests a token
	RouteLogout                         // ends a session, or all sessions of a user
	RouteAnonymous                      // documented to work without a token
	RouteAuthorizationCode              // creates a code for another login
	RouteSession                        // shows sessions
	RouteClosed                         // gives out or ends sessions in another way; never forwarded
)

var routeNames = [...]string{"protected", "token", "logout", "anonymous", "authorization_code", "session", "closed"}

func (r Route) String() string {
	if r < 0 || int(r) >= len(routeNames) {
		return "invalid"
	}
	return routeNames[r]
}

// route is an entry of a product's route list. {} in the pattern stands for one
// segment.
type route struct {
	method, pattern string
	kind            Route
	wild            bool
}

func on(method, pattern string, kind Route) route {
	return route{method, pattern, kind, strings.Contains(pattern, "{}")}
}

// Classify returns the route of a request. urlPath is the decoded path.
//
// Servers ignore the case of methods and paths, and some proxies in front of them
// convert backslashes to slashes, merge slashes and resolve dot segments. Classify does
// the same, so that no spelling of a token, logout or code path counts as an ordinary
// path. For anonymous routes it is strict: a path with any byte that the documented
// form does not have is RouteProtected.
func (p *Product) Classify(method, urlPath string) Route {
	cleaned := cleanPath(urlPath)
	closed := false
	for i := range p.routes {
		r := &p.routes[i]
		if !r.matches(cleaned) {
			continue
		}
		if !strings.EqualFold(r.method, method) {
			closed = closed || r.kind != RouteAnonymous
			continue
		}
		if r.kind == RouteAnonymous && (r.method != method || !plain(urlPath)) {
			return RouteProtected
		}
		return r.kind
	}
	if closed || givesSessions(cleaned) {
		return RouteClosed
	}
	return RouteProtected
}

// givesSessions reports whether a path is one where some product, in some version
// or under some other prefix, gives out, renews or ends sessions: the request may
// carry credentials of the client's, and the answer a token of the server's. No
// resource of the documented APIs has such a path.
func givesSessions(cleaned string) bool {
	i := strings.LastIndexByte(cleaned, '/')
	last, before := cleaned[i+1:], cleaned[:max(i, 0)]
	for _, name := range sessionPaths {
		if strings.EqualFold(name, last) {
			return true
		}
	}
	i = strings.LastIndexByte(before, '/')
	parent := before[i+1:]
	switch {
	case strings.EqualFold(parent, "token"), strings.EqualFold(parent, "authentication"),
		strings.EqualFold(parent, "sessionMngr"), below(before, "logonSessions"), isPrivate(cleaned):
		return true
	case strings.EqualFold(parent, "oauth2"):
		return strings.LastIndexByte(before[:max(i, 0)], '/') == 0 // /api/oauth2/…, /private-api/oauth2/…
	}
	return false
}

// below reports whether a path has a segment of this name.
func below(urlPath, name string) bool {
	for segment := range strings.SplitSeq(urlPath, "/") {
		if strings.EqualFold(segment, name) {
			return true
		}
	}
	return false
}

// PlugIn reports whether a path leads to another service behind the server. That
// service gets the server's tokens and may refuse one that the server accepts.
func (p *Product) PlugIn(urlPath string) bool { return p.plugIns != "" && below(urlPath, p.plugIns) }

// isPrivate reports whether a path is of the private API of VBR 13, which gives the
// tokens of plug-ins and is bound to one version.
func isPrivate(urlPath string) bool {
	const private = "/private-api"
	return len(urlPath) >= len(private) && strings.EqualFold(urlPath[:len(private)], private) && (len(urlPath) == len(private) || urlPath[len(private)] == '/')
}

// sessionPaths are the last segments of such paths.
var sessionPaths = [...]string{
	"token", "oauth2", "login", "logon", "logout", "logoff", "authorization_code", "authorizationCode", "AuthCode", "sessionMngr", "logonSessions",
	"accessToken", "webApiAccessToken", // Veeam ONE gives its page a token at …/veeamintelligence/webApiAccessToken
}

func (r *route) matches(urlPath string) bool {
	if !r.wild {
		return strings.EqualFold(r.pattern, urlPath)
	}
	pattern, pathLeft := r.pattern, urlPath
	for {
		want, patternRest, patternMore := strings.Cut(pattern, "/")
		got, pathRest, pathMore := strings.Cut(pathLeft, "/")
		if patternMore != pathMore {
			return false
		}
		if want == "{}" && got == "" || want != "{}" && !strings.EqualFold(want, got) {
			return false
		}
		if !patternMore {
			return true
		}
		pattern, pathLeft = patternRest, pathRest
	}
}

// cleanPath returns p as it is if there is nothing to clean, without allocating.
func cleanPath(p string) string {
	ordinary := strings.HasPrefix(p, "/") &&
		(len(p) == 1 || p[len(p)-1] != '/') &&
		!strings.Contains(p, "//") &&
		!strings.Contains(p, "/.") &&
		strings.IndexByte(p, '\\') < 0
	if ordinary {
		return p
	}
	return path.Clean("/" + strings.ReplaceAll(p, `\`, "/"))
}

// plain reports whether a path has only bytes that documented routes have.
func plain(p string) bool {
	for i := range len(p) {
		switch c := p[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '/', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
