// Package canonical normalizes requests, so that the decided request is the one that is
// sent. It also detects differences between the two.
package canonical

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Request is what the server will read of a request: classification, rules, log and
// filter are about this and nothing else, and nothing else is sent. Nobody changes it.
type Request struct {
	// Method is in capital letters.
	Method string

	// Path is escaped, and without the base path of the upstream.
	Path string

	// Query is the raw query, empty without one.
	Query string

	// Websocket says that the connection may become a websocket.
	Websocket bool
}

// AsItIs is a request in the spelling in which it has come. Servers may differ about
// what it means.
func AsItIs(r *http.Request) Request {
	return Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Websocket: len(r.Header["Upgrade"]) > 0}
}

// Target is path and query.
func (c Request) Target() string {
	if c.Query == "" {
		return c.Path
	}
	return c.Path + "?" + c.Query
}

// Make gives a request its one spelling, in place, and returns it. The refusal is nil
// if there is one.
//
// The method of an extended CONNECT (RFC 8441, RFC 9220) stays on the request,
// because reverse_proxy looks for it there to make the GET of it that is decided
// about.
func Make(r *http.Request) (Request, *veeam.Refusal) {
	c := AsItIs(r)
	var ok bool
	if extendedConnect(r) {
		c.Method = http.MethodGet
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	} else {
		if c.Method, ok = operation.CleanMethod(r.Method); !ok {
			return c, &veeam.Refusal{Reason: veeam.ReasonMethodNotAllowed}
		}
		r.Method = c.Method
	}
	path, ok := operation.Clean(c.Path)
	if !ok {
		return c, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "Ambiguous path: servers normalize it differently."}
	}
	if path != c.Path {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return c, &veeam.Refusal{Reason: veeam.ReasonBadRequest}
		}
		r.URL.Path, r.URL.RawPath = decoded, path
		c.Path = path
	}
	if c.Query, ok = operation.CleanQuery(r.URL.RawQuery); !ok {
		return c, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "Ambiguous query: servers read it differently."}
	}
	r.URL.RawQuery = c.Query
	r.URL.User = nil
	c.Websocket = upgrade(r.Header, c.Method)
	return c, nil
}

// extendedConnect reports whether reverse_proxy will make a websocket of a CONNECT.
func extendedConnect(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	return r.ProtoMajor == 3 && r.Proto == "websocket" || r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket"
}

// upgrade takes every upgrade but that to a websocket out of the headers: a server
// may overlook any other, which would be a tunnel in which nothing is decided. It
// reports whether one is left.
func upgrade(header http.Header, method string) bool {
	values := header["Upgrade"]
	if len(values) == 0 {
		return false
	}
	if method == http.MethodGet && len(values) == 1 && strings.EqualFold(values[0], "websocket") &&
		httpguts.HeaderValuesContainsToken(header["Connection"], "Upgrade") {
		header["Upgrade"] = []string{"websocket"}
		return true
	}
	delete(header, "Upgrade")
	delete(header, "Http2-Settings")
	return false
}

// Mismatch says in what a request differs from what was decided about, empty if it is
// that. Whatever stands between the decision and the server may have changed it: a
// handler, an option of reverse_proxy, a fault of this module.
func (c Request) Mismatch(r *http.Request) string {
	switch {
	case r.Method != c.Method:
		return "method"
	case r.URL.EscapedPath() != c.Path || r.URL.Opaque != "":
		return "path"
	case r.URL.RawQuery != c.Query:
		return "query"
	}
	if upgrade := r.Header["Upgrade"]; len(upgrade) > 0 && (!c.Websocket || len(upgrade) != 1 || upgrade[0] != "websocket") {
		return "header Upgrade"
	}
	for name := range r.Header {
		if headers.IsOverride(name) {
			return "header " + name
		}
	}
	return ""
}

// Show prepares a request for the eyes of rules: the method that the server will read,
// and the path without a slash at its end. fold is for conditions that regard the case
// of letters, which servers do not: path and query are in lower case. restore gives the
// request its own back.
func (c Request) Show(r *http.Request, fold bool) (restore func()) {
	own, method := *r.URL, r.Method
	r.URL.Path, r.URL.RawPath, r.Method = WithoutSlash(own.Path), WithoutSlash(own.RawPath), c.Method
	if fold {
		r.URL.Path, r.URL.RawPath = operation.Fold(r.URL.Path), ""
		r.URL.RawQuery = operation.FoldQuery(own.RawQuery)
	}
	return func() { *r.URL, r.Method = own, method }
}

// WithoutSlash is a path without the slash at its end, which the servers
// overlook: a rule about a path is also one about the path with a slash.
func WithoutSlash(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}
