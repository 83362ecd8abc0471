// The last look before a request is sent: it has to be the one that was decided
// about.

package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

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
		if overridesRequest(name) {
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
	t.logger.Error("request not sent: it is not the request that was decided about. "+
		"Move whatever changes requests before veeam_auth", fields...)
	t.metrics.Mismatches.WithLabelValues(t.product.Name).Inc()
	return answer.Refuse(t.product, req, refusal)
}
