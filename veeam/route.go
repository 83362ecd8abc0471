// What a request asks for, told from its method and path.

package veeam

import (
	"path"
	"strings"
)

// Route is a class of requests.
type Route int

// The classes. Whatever is not known to be something else is RouteProtected.
const (
	RouteProtected         Route = iota // needs a bearer token
	RouteToken                          // asks for a token
	RouteLogout                         // ends a session, or all of a user's
	RouteAnonymous                      // documented to work without a token
	RouteAuthorizationCode              // has a session create a code for another login
)

var routeNames = [...]string{"protected", "token", "logout", "anonymous", "authorization_code"}

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

// Classify tells what a request asks for. path is the decoded path of the URL.
//
// The servers compare methods and paths without regard to case, and some front
// ends turn backslashes into slashes, merge slashes and resolve dot segments;
// Classify does all of that, so that no spelling of a token, logout or code path
// passes as an ordinary one. An anonymous route is the opposite matter: a path
// with any byte that its documented form would not have is RouteProtected.
func (p *Product) Classify(method, urlPath string) Route {
	cleaned := cleanPath(urlPath)
	for i := range p.routes {
		r := &p.routes[i]
		if !strings.EqualFold(r.method, method) || !r.matches(cleaned) {
			continue
		}
		if r.kind == RouteAnonymous && (r.method != method || !plain(urlPath)) {
			return RouteProtected
		}
		return r.kind
	}
	return RouteProtected
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
