// Whose answers are filtered.

package clients

import (
	"fmt"
	"slices"

	"github.com/caddy-veeam/veeam-auth/policy"
)

// FilterSecrets removes secrets from the server's responses. JSON is forwarded without
// them. All other responses with a body are refused, except media without text, such as
// images.
type FilterSecrets struct {
	// The callers that get responses unfiltered, as rules see them in
	// {http.veeam_auth.client}: the name of a configured client, `loopback`, `unix`, or
	// the kind and name of another caller, such as `certificate:CN=alice`, `caddy:bob`
	// `passthrough:LAB\carol` or `jwt:k8s:dave`. In addition, a caller that an `allow` rule with the
	// class `secret` admits gets the response of such an operation unfiltered. Default:
	// none.
	Except []string `json:"except,omitempty"`

	callers []policy.Caller
}

// Read parses the exceptions of a site with clients. A name without a kind must be that of
// a client. nil is valid.
func (f *FilterSecrets) Read(known []*Client) error {
	if f == nil {
		return nil
	}
	f.callers = nil
	for _, text := range f.Except {
		caller, err := policy.ParseIdentity(text)
		if err != nil {
			return fmt.Errorf("veeam_auth: filter_secrets: %w", err)
		}
		if caller.Via == policy.ViaClient && !slices.ContainsFunc(known, func(c *Client) bool { return c.Name == caller.Name }) {
			return fmt.Errorf("veeam_auth: filter_secrets: no client named %s; write callers of other kinds as caddy:<user>, certificate:<subject>, passthrough:<user> or jwt:<provider>:<name>", caller.Name)
		}
		f.callers = append(f.callers, caller)
	}
	return nil
}

// Excepts reports whether a caller gets responses unfiltered.
func (f *FilterSecrets) Excepts(caller *policy.Caller) bool {
	return slices.ContainsFunc(f.callers, func(c policy.Caller) bool { return c.Via == caller.Via && c.Identity() == caller.Identity() })
}
