// Where the options of a Caddyfile belong.

package hidden

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
)

// CacheOptions are the options of cache, sorted.
var CacheOptions = []string{"encryption_key", "storage"}

// TransportOptions are the options of the transport http of reverse_proxy.
var TransportOptions = []string{
	"compression", "dial_fallback_delay", "dial_timeout", "expect_continue_timeout", "forward_proxy_url", "keepalive", "keepalive_idle_conns",
	"keepalive_idle_conns_per_host", "keepalive_interval", "local_address", "max_conns_per_host", "max_response_header", "network_proxy", "proxy_protocol", "read_buffer",
	"read_timeout", "resolvers", "response_header_timeout", "tls", "tls_client_auth", "tls_curves", "tls_except_ports", "tls_insecure_skip_verify", "tls_renegotiation",
	"tls_server_name", "tls_timeout", "tls_trust_pool", "tls_trusted_ca_certs", "versions", "write_buffer", "write_timeout",
}

// block is what has options, by the name that errors have for it.
type block struct {
	name    string
	options []string
}

// blocks are all but the directive itself.
var blocks = []block{
	{"account", account.Names()},
	{"approvals", approval.Names},
	{"cache", CacheOptions},
	{"client", clients.Options},
	{"key", clients.KeyOptions},
	{"transport http", TransportOptions},
	{"trust_jwt", jwtcaller.Options},
	{"a rule (allow, deny, approve)", []string{"operation", "preset", "shadow", "unknown_callers"}},
}

// optionsOfBlocks are the options of all blocks: there may be very many words to look at.
var optionsOfBlocks = sync.OnceValue(func() map[string]bool {
	options := make(map[string]bool)
	for _, b := range blocks {
		for _, option := range b.options {
			options[option] = true
		}
	}
	return options
})

// isOption reports whether a word is an option of any block, or one of the known words.
func isOption(word string, known []string) bool {
	return optionsOfBlocks()[word] || slices.Contains(known, word)
}

// Belongs says in which blocks a word is an option, other than the block in, empty if in
// none. own are the options of the directive.
func Belongs(word, in string, own []string) string {
	var names []string
	for _, b := range append([]block{{"veeam_auth", own}}, blocks...) {
		if b.name != in && slices.Contains(b.options, word) {
			names = append(names, b.name)
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Shown is how an error writes a word that is no option: as it is if it looks like one of the
// known words.
func Shown(word string, known []string) string {
	if MayBeQuoted(word, known) {
		return word
	}
	return "(not shown, it may be a secret)"
}

// Unrecognized is what an error says of a word that is no option of the block in: where it
// belongs, or what is allowed. It does not repeat what may be a secret. own are the options
// of the directive.
func Unrecognized(word, in string, own []string) string {
	if where := Belongs(word, in, own); where != "" {
		return fmt.Sprintf("unrecognized option %s; it belongs in %s", word, where)
	}
	if !slices.Contains(privateWords["account"], word) {
		word = Shown(word, own)
	}
	allowed := ""
	for _, b := range blocks {
		if b.name == in {
			allowed = strings.Join(b.options, ", ")
		}
	}
	return fmt.Sprintf("unrecognized option %s; allowed: %s", word, allowed)
}
