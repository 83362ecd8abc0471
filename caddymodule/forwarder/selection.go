// By what a reverse_proxy may choose among its upstreams.

package forwarder

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/headers"
)

// CheckSelection returns an error for a selection policy that depends on a header that the
// handler has removed by then: reverse_proxy would choose at random. header is the first
// argument of the policy.
func CheckSelection(policy, header string) error {
	if policy == "cookie" {
		header = "Cookie"
	} else if policy != "header" {
		return nil
	}
	if !headers.Withheld(http.CanonicalHeaderKey(header)) {
		return nil
	}
	return fmt.Errorf("lb_policy %s has no effect: veeam_auth removes the header %s before an upstream is chosen. Write lb_policy client_ip_hash, or lb_policy header with another header", policy, http.CanonicalHeaderKey(header))
}

// CheckSelections is CheckSelection for the selection policy of a reverse_proxy and its
// fallbacks. It has to be asked before the reverse_proxy has loaded them, as usual has.
func CheckSelections(proxy *reverseproxy.Handler) error {
	if proxy.LoadBalancing == nil {
		return nil
	}
	for raw := proxy.LoadBalancing.SelectionPolicyRaw; len(raw) > 0; {
		var policy struct {
			Policy   string          `json:"policy"`
			Field    string          `json:"field"`
			Fallback json.RawMessage `json:"fallback"`
		}
		if readable := json.Unmarshal(raw, &policy) == nil; !readable {
			break // reverse_proxy says what is wrong
		}
		if err := CheckSelection(policy.Policy, policy.Field); err != nil {
			return err
		}
		raw = policy.Fallback
	}
	return nil
}
