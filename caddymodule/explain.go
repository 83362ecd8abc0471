// The explanation of a decision, for the operator and tests.

package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Explanation is the decision about a request and the reasons for it.
type Explanation struct {
	// Product is the handler's product, by its name in the configuration.
	Product string

	// Asked is the request as received, Sent the request that is decided about and
	// sent: method and target.
	Asked, Sent string

	// Ambiguous reports whether the request is refused without a further decision,
	// because servers read its path, query or method differently.
	Ambiguous bool

	// Route is the route of the path. The handler itself answers token requests,
	// logouts and requests for authorization codes.
	Route veeam.Route

	// Proxied reports whether the request is for the server, so that an operation,
	// rules and an account apply.
	Proxied bool

	// Operation is the requested operation; its class is Unknown if it is not in the
	// index.
	Operation operation.Operation

	// Ruled reports whether there are rules. Rules are those before the deciding one;
	// Decision is their result. Source names the deciding rule, Shadow the shadow rule
	// that would have decided.
	Ruled          bool
	Rules          []rules.Outcome
	Decision       policy.Decision
	Source, Shadow string

	// Narrowed says what the limits of the client or of its key deny, empty for nothing.
	// The rules are not asked then.
	Narrowed string

	// Account is the name of the account to act as; empty for the first.
	Account string

	// Refusal is the reason of a refusal, nil if the request is allowed; it is
	// ReasonApprovalRequired for a request that would be asked an approval for. Status and
	// Message are those of the response.
	Refusal *veeam.Refusal
	Status  int
	Message string
}

// Explain decides about a request as ServeHTTP does and gives the reasons. It does not
// authenticate: caller is given, and known says whether it is a known caller. It skips
// the token endpoint's check of credentials and the limits. It changes r as ServeHTTP
// does. PrepareExplain prepares a handler for it.
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
	v := h.judge(r, state, unknown, func(shown *http.Request) { x.Rules = h.rules.Outcomes(shown, state.decision.Rule) })
	if v.refusal == nil && x.Route == veeam.RouteToken && known {
		v.refusal = h.narrow(r, state) // as after the login
	}
	if v.refusal == nil && state.decision.Approval {
		v.refusal = &veeam.Refusal{Reason: veeam.ReasonApprovalRequired}
	}
	x.Ambiguous = state.ambiguous != nil
	x.Proxied = !x.Ambiguous && (x.Route == veeam.RouteAnonymous || x.Route == veeam.RouteProtected)
	x.Operation, x.Ruled, x.Decision, x.Account, x.Refusal = state.operation, v.ruled, state.decision, state.account, v.refusal
	x.Narrowed = state.narrowed
	if v.ruled {
		x.Source = h.rules.Describe(state.decision.Rule)
	}
	if state.decision.Shadow != 0 {
		x.Shadow = h.rules.Describe(state.decision.Shadow)
	}
	if v.refusal != nil {
		x.Status, x.Message = h.product.Status(*v.refusal), h.product.Message(*v.refusal)
	}
	return x
}

// ExplainRequest makes a request for Explain, as if a program on this machine had sent
// it over HTTP/1.1. The address is a URL or a path; other addresses are an error.
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

// PrepareExplain loads a handler from its JSON and prepares it for Explain only: it
// reads no key and does not access the storage. first is the name of the first account.
func PrepareExplain(ctx caddy.Context, raw json.RawMessage, first string) (h *Handler, err error) {
	h = &Handler{first: first}
	if err := json.Unmarshal(raw, h); err != nil {
		return nil, fmt.Errorf("handler %s: %w", directive, err)
	}
	if h.product, err = LookupProduct(h.Product); err != nil {
		return nil, err
	}
	if h.index, err = operation.Open(h.product.Name, h.IndexFile); err != nil {
		return nil, fmt.Errorf("veeam_auth: %w", err)
	}
	if h.clients, err = clients.New(h.Clients, passwords); err != nil {
		return nil, fmt.Errorf("veeam_auth: %w", err)
	}
	if h.jwts, err = h.trust(); err != nil {
		return nil, fmt.Errorf("veeam_auth: %w", err)
	}
	h.rules, err = rules.Load(ctx, h.Rules, h.Default)
	return h, err
}

// trust returns the identity providers of the configuration. It reads no keys.
func (h *Handler) trust() (*jwtcaller.Trust, error) {
	return jwtcaller.New(h.TrustJWT, func(name string) (policy.Caller, bool) {
		for _, client := range h.Clients {
			if client.Name == name {
				return client.Caller(), true
			}
		}
		return policy.Caller{}, false
	})
}

// CallerByClaims returns the caller of a token with some claims, a JSON object. Neither a
// signature nor times are checked.
func (h *Handler) CallerByClaims(claims []byte) (policy.Caller, error) {
	return h.jwts.Described(claims)
}

// Key returns the key with a name in the configuration, nil if there is none.
func (h *Handler) Key(name string) *policy.Key { return h.clients.Key(name) }

// Caller returns the configured client of that name, as an authenticated caller. ok is
// false if there is none.
func (h *Handler) Caller(client string) (caller policy.Caller, ok bool) {
	c := h.clients.Named(client)
	if c == nil {
		return policy.Caller{}, false
	}
	return c.Caller(), true
}
