// Warnings of rules that do not do what was probably meant.

package rules

import (
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/operations"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Warn logs the rules that never apply, and those that allow unknown callers more than what
// the server answers without a token. index has the operations of the product, nil if none
// are known.
func (s *Set) Warn(log *zap.Logger, product *veeam.Product, index *operation.Index) {
	for rule, why := range s.Idle() {
		log.Warn("a rule never applies: "+why, zap.String("rule", s.Describe(rule)))
	}
	if index == nil {
		return
	}
	for i := range s.Rules.Rules {
		rule := &s.Rules.Rules[i]
		if rule.Effect != policy.Allow || !rule.Unknown || rule.Shadow {
			continue
		}
		if op, ok := needsToken(rule, product, index); ok {
			log.Warn("a rule with unknown_callers allows operations that require a token; unknown callers act as no account, so the server refuses them",
				zap.String("rule", s.Describe(i+1)), zap.String("operation", op.Method+" "+op.Target()))
		}
	}
}

// needsToken returns an operation that a rule matches and that requires a token.
func needsToken(rule *policy.Rule, product *veeam.Product, index *operation.Index) (operation.Operation, bool) {
	for _, op := range index.All() {
		if product.Classify(op.Method, op.Path) != veeam.RouteProtected {
			continue
		}
		r := &http.Request{
			Method: op.Method, URL: &url.URL{Path: op.Path, RawQuery: op.Query}, RequestURI: op.Target(), Header: http.Header{}, Body: http.NoBody,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server))
		caddyhttp.SetVar(r.Context(), operations.Var, &asked{op.Class})
		if matched, err := rule.Matches(r); matched && err == nil {
			return op, true
		}
	}
	return operation.Operation{}, false
}

// asked is a request that nobody has sent.
type asked struct{ class operation.Class }

// Class implements operations.Classified.
func (a *asked) Class() operation.Class { return a.class }

// SetClass implements operations.Classified.
func (a *asked) SetClass(class operation.Class) { a.class = class }
