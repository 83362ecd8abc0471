// For whom answers are without their secrets.

package caddymodule

import (
	"fmt"
	"slices"

	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// FilterSecrets takes the secrets out of the server's answers. JSON is passed
// without them. Every other answer that has a body is refused, but for media that
// carry no text, such as images.
type FilterSecrets struct {
	// The callers who get answers as they are, as rules see them in
	// {http.veeam_auth.client}: the name of a configured client, `loopback`, `unix`, or
	// how another caller is known and its name, such as `certificate:CN=alice`,
	// `caddy:bob` or `passthrough:LAB\carol`. Beside them, whoever is let in by a rule
	// that names the class `secret` gets the answer of an operation of that class as it
	// is. Default: none.
	Except []string `json:"except,omitempty"`

	callers []policy.Caller
}

// read reads who is excepted. A name without a kind must be that of a client.
func (f *FilterSecrets) read(clients []*Client) error {
	if f == nil {
		return nil
	}
	f.callers = nil
	for _, text := range f.Except {
		caller, err := policy.ParseIdentity(text)
		if err != nil {
			return fmt.Errorf("veeam_auth: filter_secrets: %w", err)
		}
		if caller.Via == policy.ViaClient && !slices.ContainsFunc(clients, func(c *Client) bool { return c.Name == caller.Name }) {
			return fmt.Errorf("veeam_auth: filter_secrets: there is no client named %s; callers of other kinds are written caddy:<user>, certificate:<subject> or passthrough:<user>", caller.Name)
		}
		f.callers = append(f.callers, caller)
	}
	return nil
}

// excepts reports whether a caller gets answers as they are.
func (f *FilterSecrets) excepts(caller *policy.Caller) bool {
	return slices.ContainsFunc(f.callers, func(c policy.Caller) bool { return c.Via == caller.Via && c.Identity() == caller.Identity() })
}

// filters reports whether secrets are taken out of the answer.
func (h *Handler) filters(e *exchange) bool {
	if h.FilterSecrets == nil || h.FilterSecrets.excepts(&e.caller) {
		return false
	}
	rule := e.decision.Rule
	revealed := rule > 0 && e.decision.Allowed && h.Rules[rule-1].reveals && e.operation.Class == operation.Secret
	return !revealed
}
