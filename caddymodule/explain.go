// What the handler makes of a request and why, for people and tests.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Explanation is what becomes of a request, and why.
type Explanation struct {
	// Product is the one of the handler, by its name in the configuration.
	Product string

	// Asked and Sent are the request as it comes and as it is decided about and sent:
	// method and target.
	Asked, Sent string

	// Ambiguous reports whether nothing is decided about the request but that it is
	// refused, because servers read its path, its query or its method differently.
	Ambiguous bool

	// Route is what the path leads to. The handler itself answers token requests,
	// logouts and requests for authorization codes.
	Route veeam.Route

	// Proxied reports whether the request is one for the server, so that there are an
	// operation, rules and an account.
	Proxied bool

	// Operation is the one that is asked for; its class is Unknown if it is not in the
	// index.
	Operation operation.Operation

	// Ruled reports whether there are rules. Rules are those before the one that
	// decides; Decision is what they come to, Source and Shadow name the rule that
	// decides and the one that would, were it obeyed.
	Ruled          bool
	Rules          []RuleOutcome
	Decision       policy.Decision
	Source, Shadow string

	// Account is the one to act as, by its name; empty for the first.
	Account string

	// Refusal is why the request is refused, nil if it is allowed; Status and Message
	// are those of the answer.
	Refusal *veeam.Refusal
	Status  int
	Message string
}

// RuleOutcome is a rule that does not decide about a request.
type RuleOutcome struct {
	Source  string // its number and where it is written
	Effect  policy.Effect
	Outcome string // a predicate: does not match
}

// Explain decides about a request as ServeHTTP does and says why. The caller is taken
// as it is, known says whether it is known: no token is looked at. The token endpoint's
// decision about credentials and limits are left out. r is changed as ServeHTTP changes
// it. The handler needs no more than PrepareExplain.
func (h *Handler) Explain(r *http.Request, caller policy.Caller, known bool) Explanation {
	asked := canonical.AsItIs(r)
	x := Explanation{Product: h.product.Name, Asked: asked.Method + " " + asked.Target()}
	state := h.open(r)
	state.caller = caller
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok && caller.Via == policy.ViaCaddy {
		repl.Set("http.auth.user.id", caller.Name)
	}
	x.Sent, x.Route = state.sent.Method+" "+state.sent.Target(), state.route
	var unknown *veeam.Refusal
	if !known {
		unknown = &veeam.Refusal{Reason: veeam.ReasonNoToken}
	}
	v := h.judge(r, state, unknown, func(shown *http.Request) { x.Rules = h.outcomes(shown, state.decision.Rule) })
	x.Ambiguous = state.ambiguous != nil
	x.Proxied = !x.Ambiguous && (x.Route == veeam.RouteAnonymous || x.Route == veeam.RouteProtected)
	x.Operation, x.Ruled, x.Decision, x.Account, x.Refusal = state.operation, v.ruled, state.decision, state.account, v.refusal
	if v.ruled {
		x.Source = h.source(state.decision.Rule)
	}
	if state.decision.Shadow != 0 {
		x.Shadow = h.source(state.decision.Shadow)
	}
	if v.refusal != nil {
		x.Status, x.Message = h.product.Status(*v.refusal), h.product.Message(*v.refusal)
	}
	return x
}

// ExplainRequest makes a request for Explain, as if a program on this machine had sent
// it over HTTP/1.1. The address is a URL or a path.
func ExplainRequest(method, address string, header http.Header) (*http.Request, error) {
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.EscapedPath(), "/") {
		return nil, fmt.Errorf("%q is neither a URL nor a path", address)
	}
	r := &http.Request{
		Method: method, URL: u, Host: u.Host, RequestURI: u.RequestURI(), Header: header, Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:1",
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server)), nil
}

// outcomes goes through the rules before the one that decides.
func (h *Handler) outcomes(shown *http.Request, decides int) (found []RuleOutcome) {
	for i, rule := range h.rules.Rules {
		if i+1 == decides {
			break
		}
		matched, err := rule.Matches(shown)
		outcome := "does not match"
		switch {
		case err != nil:
			outcome = "cannot be evaluated: " + err.Error()
		case matched && rule.Shadow:
			outcome = "matches, not enforced (shadow)"
		case matched:
			outcome = "matches, but does not apply to unknown callers"
		}
		found = append(found, RuleOutcome{Source: h.source(i + 1), Effect: rule.Effect, Outcome: outcome})
	}
	return found
}

// PrepareExplain reads a handler from its JSON and prepares it as far as Explain needs
// it: no key is read and no storage touched.
func PrepareExplain(ctx caddy.Context, raw json.RawMessage) (h *Handler, err error) {
	h = new(Handler)
	if err := json.Unmarshal(raw, h); err != nil {
		return nil, fmt.Errorf("handler %s: %w", directive, err)
	}
	if h.product, err = LookupProduct(h.Product); err != nil {
		return nil, err
	}
	h.index, _ = operation.For(h.product.Name)
	if h.clients, err = clients.New(h.Clients, passwords); err != nil {
		return nil, fmt.Errorf("veeam_auth: %w", err)
	}
	h.rules, err = provisionRules(ctx, h.Rules, h.Default)
	return h, err
}

// Caller is the client with a name, as a caller who has logged in. ok is false if none
// is configured.
func (h *Handler) Caller(client string) (caller policy.Caller, ok bool) {
	c := h.clients.Named(client)
	if c == nil {
		return policy.Caller{}, false
	}
	return c.Caller(), true
}
