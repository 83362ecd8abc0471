// What a server executes, told to whoever wants to know; and a server that reads requests as loosely as any might.

package veeamtest

import (
	"net/http"
	"net/url"
	"strings"
)

// Executed is a request that the server has let in: its bearer was accepted, or its route needs none.
type Executed struct {
	Method    string // in capitals, after overrides
	Path      string // the path as it was understood, one spelling: decoded, without empty and dot segments
	Query     string // as it came
	Operation string // method and path template, empty where there is no such route
	Token     bool   // the route hands out or ends tokens
	Subject   string // the user of the bearer, empty without one
	Header    http.Header
}

// WithObserver has every request told that the server executes, before it is answered. Paths that no route has
// count too, unless a bearer is wanted there that the request has not. The observer is called from many goroutines.
func WithObserver(observer func(Executed)) Option {
	return func(s *Server) { s.cfg.observer = observer }
}

// WithLooseReading makes the server understand what some servers do and Veeam's are not known to: headers and the
// query parameter _method that name another method, headers that name another path, and versions with leading zeros.
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
