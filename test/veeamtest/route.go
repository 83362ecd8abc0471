// Routing: which operation a request means. Paths are read as a Windows server reads them, so that every spelling
// that reaches an operation there reaches it here.

package veeamtest

import (
	"net/http"
	"regexp"
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
)

type route struct {
	method string // "*" for any
	path   string // segments in braces match anything, {version} only v2 to v8
	access access
	handle func(*exchange)
}

var (
	versionSegment      = regexp.MustCompile(`^v[2-8](\.\d+)?$`)
	looseVersionSegment = regexp.MustCompile(`^v0*[2-8](\.\d+)?$`)
)

func (s *Server) versionSegment() *regexp.Regexp {
	if s.cfg.loose {
		return looseVersionSegment
	}
	return versionSegment
}

// Route returns the canonical operation of a request, its method and its path template: "GET /api/v1/jobs/{id}".
// It is "" when there is none. A query in rawPath is ignored.
func (s *Server) Route(method, rawPath string) string {
	rt, _, _ := s.match(method, rawPath)
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
func (s *Server) match(method, rawPath string) (rt *route, params map[string]string, known bool) {
	segments := normalize(rawPath)
	method = strings.ToUpper(method) // the servers compare methods without case
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for i := range s.routes {
		found, ok := matchPath(s.routes[i].path, segments, s.versionSegment())
		if !ok {
			continue
		}
		known = true
		if m := s.routes[i].method; m == "*" || m == method {
			return &s.routes[i], found, true
		}
	}
	return nil, nil, known
}

func matchPath(template string, segments []string, versions *regexp.Regexp) (map[string]string, bool) {
	var params map[string]string
	rest := template[1:]
	for i := 0; ; i++ {
		part, tail, more := strings.Cut(rest, "/")
		if i >= len(segments) {
			return nil, false
		}
		switch {
		case part == "{version}":
			if !versions.MatchString(strings.ToLower(segments[i])) {
				return nil, false
			}
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

// concrete fills in the version of a template that has one.
func concrete(template string) string {
	return strings.Replace(template, "{version}", "v8.1", 1)
}

// rawPath is the path as it came over the wire.
func rawPath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		return path
	}
	return r.URL.EscapedPath()
}
