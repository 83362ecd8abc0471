// Routing: which operation a request means. Paths are read as a Windows server reads them, so that every spelling
// that reaches an operation there reaches it here.

package veeamtest

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// access says what a route asks of its callers.
type access int

const (
	protected access = iota // a bearer
	ending                  // a bearer, read-only ones too: routes that end a session
	anonymous               // nothing
	plain                   // nothing, not even a version header
	grants                  // the token endpoint
	extension               // a bearer, but no version header: plug-ins behind VBR
	private                 // a bearer of VBR's private API, and no version header
)

type route struct {
	method string // "*" for any
	path   string // segments in braces match anything, {version} what the product serves; a query must be there
	access access
	handle func(*exchange)
}

var (
	leadingZeros = regexp.MustCompile(`^v0+(\d)`)
	versionLike  = regexp.MustCompile(`^[vV]\d`)
)

// serves reports whether a segment of a path is a version that the server has.
func (s *Server) serves(segment string) bool {
	segment = strings.ToLower(segment)
	if s.cfg.loose {
		segment = leadingZeros.ReplaceAllString(segment, "v$1")
	}
	pattern := s.product.pathPattern
	return pattern != nil && pattern.MatchString(segment) ||
		s.product.pathVersions != nil && slices.Contains(s.cfg.versions, segment)
}

// unserved reports whether a path lies below the product's resources in a version that the server does not have.
func (s *Server) unserved(segments []string) bool {
	for i, part := range normalize(s.product.base) {
		switch {
		case i >= len(segments):
			return false
		case part == "{version}":
			return versionLike.MatchString(segments[i]) && !s.serves(segments[i])
		case !strings.EqualFold(part, segments[i]):
			return false
		}
	}
	return false
}

// Route returns the canonical operation of a request, its method and its path template:
// "GET /api/v1/jobs/{id}". It is "" if there is none. A query in rawPath matters only
// if it selects an operation: "POST /api/jobs/{id}?action=start".
func (s *Server) Route(method, rawPath string) string {
	path, query, _ := strings.Cut(rawPath, "?")
	rt, _, _ := s.match(method, path, query)
	if rt == nil {
		return ""
	}
	return rt.operation(method)
}

func (rt *route) operation(method string) string {
	if rt.method != "*" {
		method = rt.method
	}
	return method + " " + rt.path
}

// match finds the route of a request. known says that the path exists, with this or another method.
func (s *Server) match(method, rawPath, query string) (rt *route, params map[string]string, known bool) {
	segments := normalize(rawPath)
	method = strings.ToUpper(method) // the servers compare methods without case
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for i := range s.routes {
		template, chosen, _ := strings.Cut(s.routes[i].path, "?")
		found, ok := s.matchPath(template, segments)
		if !ok || !s.choose(query, chosen) {
			continue
		}
		known = true
		if m := s.routes[i].method; m == "*" || m == method {
			return &s.routes[i], found, true
		}
	}
	return nil, nil, known
}

// choose reports whether a query has the pair name=value. Names and values are compared without case. Of several values
// the first counts, with WithLooseReading any.
func (s *Server) choose(query, pair string) bool {
	if pair == "" {
		return true
	}
	name, want, _ := strings.Cut(pair, "=")
	values, _ := url.ParseQuery(query)
	for n, v := range values {
		if !strings.EqualFold(n, name) {
			continue
		}
		if !s.cfg.loose {
			v = v[:1]
		}
		if slices.ContainsFunc(v, func(value string) bool { return strings.EqualFold(value, want) }) {
			return true
		}
	}
	return false
}

func (s *Server) matchPath(template string, segments []string) (map[string]string, bool) {
	var params map[string]string
	rest := template[1:]
	for i := 0; ; i++ {
		part, tail, more := strings.Cut(rest, "/")
		if i >= len(segments) {
			return nil, false
		}
		switch {
		case part == "{version}":
			if !s.serves(segments[i]) {
				return nil, false
			}
			if params == nil {
				params = map[string]string{}
			}
			params["version"] = strings.ToLower(segments[i])
		case part[0] == '{':
			if params == nil {
				params = map[string]string{}
			}
			params[part[1:len(part)-1]] = segments[i]
		case !strings.EqualFold(part, segments[i]):
			return nil, false
		}
		if !more {
			return params, i == len(segments)-1
		}
		rest = tail
	}
}

// normalize splits a raw path into segments: percent escapes decoded once, backslashes taken for slashes,
// path parameters cut off, empty and dot segments resolved.
func normalize(raw string) []string {
	raw, _, _ = strings.Cut(raw, "?")
	path := strings.ReplaceAll(unescape(raw), `\`, "/")
	var segments []string
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		switch segment {
		case "", ".":
		case "..":
			if len(segments) > 0 {
				segments = segments[:len(segments)-1]
			}
		default:
			segments = append(segments, segment)
		}
	}
	return segments
}

// concrete fills in the newest version of a template that has one.
func (s *Server) concrete(template string) string {
	if len(s.cfg.versions) == 0 {
		return template
	}
	return strings.Replace(template, "{version}", s.cfg.versions[len(s.cfg.versions)-1], 1)
}

// rawPath is the path as it came over the wire.
func rawPath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		return path
	}
	return r.URL.EscapedPath()
}
