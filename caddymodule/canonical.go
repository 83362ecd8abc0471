// The one spelling of a request: what is decided about is what is sent, which is looked
// at once more before it is.

package caddymodule

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// sent is what the server will read of a request: classification, rules, log and
// filter are about this and nothing else, and the transport sends nothing else.
// The handler makes it, and nobody changes it.
type sent struct {
	method string
	path   string // escaped, without the base path of the upstream
	query  string

	// websocket says that the connection may become a websocket.
	websocket bool
}

// target is path and query.
func (s sent) target() string {
	if s.query == "" {
		return s.path
	}
	return s.path + "?" + s.query
}

// canonicalising is off only in the test that shows what it is there for.
var canonicalising = true

// canonical gives a request its one spelling, in place, and returns it. The refusal
// is nil if there is one.
//
// The method of an extended CONNECT (RFC 8441, RFC 9220) stays on the request,
// because reverse_proxy looks for it there to make the GET of it that is decided
// about.
func canonical(r *http.Request) (sent, *veeam.Refusal) {
	s := sent{method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery, websocket: len(r.Header["Upgrade"]) > 0}
	if !canonicalising {
		return s, nil
	}
	var ok bool
	if extendedConnect(r) {
		s.method = http.MethodGet
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	} else {
		if s.method, ok = operation.CleanMethod(r.Method); !ok {
			return s, &veeam.Refusal{Reason: veeam.ReasonMethodNotAllowed}
		}
		r.Method = s.method
	}
	path, ok := operation.Clean(s.path)
	if !ok {
		return s, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "Ambiguous path: servers normalize it differently."}
	}
	if path != s.path {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return s, &veeam.Refusal{Reason: veeam.ReasonBadRequest}
		}
		r.URL.Path, r.URL.RawPath = decoded, path
		s.path = path
	}
	if s.query, ok = operation.CleanQuery(r.URL.RawQuery); !ok {
		return s, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "Ambiguous query: servers read it differently."}
	}
	r.URL.RawQuery = s.query
	r.URL.User = nil
	s.websocket = upgrade(r.Header, s.method)
	return s, nil
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
		header["Upgrade"] = websocketValue
		return true
	}
	delete(header, "Upgrade")
	delete(header, "Http2-Settings")
	return false
}

var websocketValue = []string{"websocket"}

// mismatch says in what the request differs from what was decided about, empty if
// it is that. Whatever stands between the decision and here may have changed it: a
// handler, an option of reverse_proxy, a fault of this module.
//
// Without a decision only health checks travel, which no client has asked for:
// requests that come through a site have variables.
func mismatch(req *http.Request, e *exchange) string {
	switch {
	case e == nil && req.Context().Value(caddyhttp.VarsCtxKey) == nil:
		return ""
	case e == nil:
		return "no handler veeam_auth has decided about it"
	case req.Method != e.sent.method:
		return "method"
	case req.URL.EscapedPath() != e.sent.path || req.URL.Opaque != "":
		return "path"
	case req.URL.RawQuery != e.sent.query:
		return "query"
	}
	if upgrade := req.Header["Upgrade"]; len(upgrade) > 0 && (!e.sent.websocket || len(upgrade) != 1 || upgrade[0] != "websocket") {
		return "header Upgrade"
	}
	for name := range req.Header {
		if headers.IsOverride(name) {
			return "header " + name
		}
	}
	return ""
}

// refuseMismatch answers a request that is not sent because of a difference.
func (t *Transport) refuseMismatch(req *http.Request, e *exchange, difference string) *http.Response {
	refusal := veeam.Refusal{
		Reason:  veeam.ReasonDecisionMismatch,
		Message: "The request was changed after it was decided about, and is not sent. See the log of veeam-auth.",
	}
	fields := []zap.Field{zap.String("difference", difference), zap.String("method", req.Method), zap.String("path", req.URL.EscapedPath())}
	if e != nil {
		e.refused = &refusal
		fields = append(fields, zap.String("decided_method", e.sent.method), zap.String("decided_path", e.sent.path))
	}
	t.logger.Error("request not sent: it differs from the decided request. "+
		"Move handlers that change requests before veeam_auth", fields...)
	t.metrics.Mismatches.WithLabelValues(t.product.Name).Inc()
	return answer.Refuse(t.product, req, refusal)
}
