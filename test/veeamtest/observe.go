// What a server executes, told to whoever wants to know; and a server that reads requests as loosely as any might.

package veeamtest

import (
	"net/http"
	"net/url"
	"strings"
)

// Executed is a request that the server executed: its bearer was accepted, or its route
// requires none.
type Executed struct {
	Method    string // in upper case, after overrides
	Path      string // normalized path: decoded, without empty and dot segments
	Query     string // as received
	Operation string // method and path template, empty if there is no such route
	Token     bool   // the route issues or ends tokens
	Subject   string // the user of the bearer, empty without one
	Header    http.Header
}

// WithObserver calls observer for every request that the server executes, before the
// response. This includes requests for paths without a route, unless they lack a
// required bearer. observer is called concurrently.
func WithObserver(observer func(Executed)) Option {
	return func(s *Server) { s.cfg.observer = observer }
}

// WithLooseReading makes the server interpret requests as some servers do, but not
// Veeam's as far as known: headers and the query parameter _method override the method,
// headers override the path, and versions may have leading zeros.
func WithLooseReading() Option { return func(s *Server) { s.cfg.loose = true } }

func (s *Server) observe(x *exchange) {
	if s.cfg.observer == nil {
		return
	}
	done := Executed{
		Method: strings.ToUpper(x.r.Method), Path: "/" + strings.Join(normalize(rawPath(x.r)), "/"), Query: x.r.URL.RawQuery,
		Operation: x.operation, Token: x.access == grants || x.access == ending, Header: x.r.Header,
	}
	if x.token == nil { // the route asks for none, and the request has one all the same
		bearer, _ := x.presented()
		s.mu.Lock()
		x.token = s.tokens[bearer]
		s.mu.Unlock()
	}
	if x.token != nil {
		done.Subject = x.subject()
	}
	s.cfg.observer(done)
}

var (
	methodHeaders = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}
	pathHeaders   = []string{"X-Original-Url", "X-Rewrite-Url"}
)

// overridden is the request that a server with all the usual overrides makes of r.
func overridden(r *http.Request) *http.Request {
	out := *r
	for _, name := range methodHeaders {
		if method := r.Header.Get(name); method != "" {
			out.Method = method
		}
	}
	for name, values := range r.URL.Query() {
		if strings.EqualFold(name, "_method") && values[0] != "" {
			out.Method = values[0]
		}
	}
	for _, name := range pathHeaders {
		if u, err := url.Parse(r.Header.Get(name)); err == nil && strings.HasPrefix(u.Path, "/") {
			out.URL, out.RequestURI = u, u.RequestURI()
		}
	}
	return &out
}
