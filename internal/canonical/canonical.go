// Package canonical normalizes requests, so that the decided request is the one that is
// sent. It also detects differences between the two.
package canonical

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Request is what the server will read of a request. Classification, rules, log and
// filter use it and nothing else, and nothing else is sent. It is read-only.
type Request struct {
	// Method is the method in upper case.
	Method string

	// Path is the escaped path, without the base path of the upstream.
	Path string

	// Query is the raw query, empty without one.
	Query string

	// Websocket tells that the connection may be upgraded to a websocket.
	Websocket bool

	// Hid tells that a header with a secret in it has been removed, so that logs of others
	// must not have the request.
	Hid bool
}

// AsItIs returns a request in the spelling of the client. Servers may interpret it in
// different ways.
func AsItIs(r *http.Request) Request {
	return Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Websocket: len(r.Header["Upgrade"]) > 0}
}

// Target returns path and query.
func (c Request) Target() string {
	if c.Query == "" {
		return c.Path
	}
	return c.Path + "?" + c.Query
}

// Make normalizes a request in place and returns its normal form. It returns a refusal
// if the method is not allowed, or servers could interpret the path or query in
// different ways. Of the values of the query, it is enough if they agree on those that rules
// look at, whose words are given.
//
// The method of an extended CONNECT (RFC 8441, RFC 9220) stays on r, because
// reverse_proxy needs it there to make a GET of it. The result has the GET.
func Make(r *http.Request, words Words) (Request, *veeam.Refusal) {
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
	if c.Query, ok = operation.CleanQuery(r.URL.RawQuery); !ok || !words.agree(c.Query) {
		return c, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "Ambiguous query: servers read it differently."}
	}
	r.URL.RawQuery = c.Query
	c.Websocket, c.Hid = upgrade(r.Header, c.Method)
	return c, nil
}

// extendedConnect reports whether reverse_proxy will turn a CONNECT into a websocket.
func extendedConnect(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	return r.ProtoMajor == 3 && r.Proto == "websocket" || r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket"
}

// upgrade removes every upgrade but that to a websocket from the headers. A server
// might accept another one, and what is sent through it would not be checked. It
// reports whether an upgrade is left, and whether there was a secret in what is not.
func upgrade(header http.Header, method string) (left, hid bool) {
	values := header["Upgrade"]
	if len(values) == 0 {
		return false, false
	}
	if method == http.MethodGet && len(values) == 1 && strings.EqualFold(values[0], "websocket") &&
		httpguts.HeaderValuesContainsToken(header["Connection"], "Upgrade") {
		header["Upgrade"] = []string{"websocket"}
		return true, false
	}
	for _, name := range [...]string{"Upgrade", "Http2-Settings"} {
		for _, value := range header[name] {
			hid = hid || svclog.HeaderHides(name, value)
		}
		delete(header, name)
	}
	return false, hid
}

// Mismatch names the difference between r and the request that was decided about, or
// returns "" if there is none. A handler, an option of reverse_proxy or a fault of this
// module may have changed the request after the decision.
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

// Show prepares r for rules: with the method that the server will read, and without a
// slash at the end of the path. fold also puts path and query in lower case, for
// conditions that are case-sensitive where servers are not. restore undoes the changes.
func (c Request) Show(r *http.Request, fold bool) (restore func()) {
	own, method := *r.URL, r.Method
	r.URL.Path, r.URL.RawPath, r.Method = WithoutSlash(own.Path), WithoutSlash(own.RawPath), c.Method
	if fold {
		r.URL.Path, r.URL.RawPath = operation.Fold(r.URL.Path), ""
		r.URL.RawQuery = operation.FoldQuery(own.RawQuery)
	}
	return func() { *r.URL, r.Method = own, method }
}

// WithoutSlash returns a path without the slash at its end. Servers ignore it, so a
// rule for a path also applies to the path with a slash.
func WithoutSlash(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}
