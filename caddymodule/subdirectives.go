// The table of subdirectives and their parsers.

package caddymodule

import (
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/hidden"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// repeatable are the subdirectives that may be written more than once.
var repeatable = []string{"account", "client", "allow", "deny", "approve", "hosts", "allowed_origins", "tls_pin", "trust_jwt"}

// readers returns the parsers of the subdirectives by name.
func (p *directiveParser) readers() map[string]arguments.Reader {
	t, h := p.transport, p.handler
	return map[string]arguments.Reader{
		"account":         p.account,
		"act_as":          arguments.Into(&h.ActAs, arguments.One),
		"allow":           p.rule,
		"allowed_origins": arguments.Into(&h.AllowedOrigins, arguments.Origins),
		"api_version":     arguments.Into(&t.APIVersion, arguments.One),
		"approvals":       p.approvals,
		"approve":         p.rule,
		"audience":        arguments.Checked(arguments.Into(&h.Audience, arguments.One), func() error { return issuer.CheckAudience(h.Audience) }),
		"base_path":       arguments.Checked(arguments.Into(&t.BasePath, arguments.One), func() error { return upstream.CheckBasePath(t.BasePath) }),
		"cache": func(d *caddyfile.Dispenser) (err error) {
			t.Cache, err = records.ReadCache(d, unrecognized)
			return err
		},
		"client":                 p.client,
		"default":                func(d *caddyfile.Dispenser) error { return arguments.Choice(d, &h.Default, "allow", "deny") },
		"deny":                   p.rule,
		"expose_upstream_tokens": arguments.Into(&h.ExposeUpstreamTokens, arguments.None),
		"filter_secrets":         p.filterSecrets,
		"forward": func(d *caddyfile.Dispenser) error {
			return arguments.Choice(d, &h.Forward, forwarder.Auto, forwarder.Nested)
		},
		"hold":           p.hold,
		"hosts":          arguments.Checked(arguments.Into(&h.Hosts, arguments.List), func() error { return policy.CheckHosts(h.Hosts) }),
		"index_file":     arguments.Into(&h.IndexFile, arguments.One),
		"insecure_http":  arguments.Into(&t.InsecureHTTP, arguments.None),
		"lockout_budget": arguments.Into(&t.LockoutBudget, records.ReadLockoutBudget),
		"log_all_bodies": arguments.Into(&h.LogAllBodies, arguments.None),
		"log_body_limit": func(d *caddyfile.Dispenser) error { return arguments.SizeOrOff(d, &h.LogBodyLimit, maxLogBodyLimit) },
		"log_trace_id":   arguments.Into(&h.LogTraceID, arguments.None),
		"login_at": func(d *caddyfile.Dispenser) error {
			return arguments.Choice(d, &t.LoginAt, loginAtRequest, loginAtStart)
		},
		"login_timeout":          arguments.Into(&t.LoginTimeout, arguments.Duration),
		"max_parallel":           arguments.Into(&h.MaxParallel, arguments.Count),
		"max_users":              arguments.Into(&t.MaxUsers, arguments.Count),
		"pace":                   arguments.Into(&t.Pace, arguments.Parsed(ratelimit.ParsePace)),
		"passthrough":            arguments.Checked(arguments.Into(&h.Passthrough, arguments.None), func() error { t.Passthrough = true; return nil }),
		"product":                arguments.Checked(arguments.Into(&t.Product, arguments.One), p.sameProduct),
		"proxy_from_environment": arguments.Into(&t.ProxyFromEnvironment, arguments.None),
		"rate_limit":             arguments.Into(&h.RateLimit, arguments.Parsed(ratelimit.ParsePerCaller)),
		"refresh_before":         arguments.Into(&t.RefreshBefore, arguments.Duration),
		"replay_limit":           arguments.Into(&t.ReplayLimit, arguments.Size),
		"require_authentication": arguments.Into(&h.RequireAuthentication, arguments.None),
		"session_records":        func(d *caddyfile.Dispenser) error { return arguments.Choice(d, &t.SessionRecords, "on", "off") },
		"tls_pin":                p.pins,
		"token_lifetime":         arguments.Checked(arguments.Into(&h.TokenLifetime, arguments.Duration), func() error { return issuer.CheckLifetime(time.Duration(h.TokenLifetime)) }),
		"token_max_lifetime":     arguments.Into(&h.TokenMaxLifetime, arguments.Duration),
		"trust_jwt":              p.trustJWT,
		"upstream_host":          arguments.Into(&t.UpstreamHost, arguments.One),
	}
}

// ownNames returns the names of all subdirectives of the module, sorted.
func ownNames() []string {
	parser := &directiveParser{handler: new(Handler), transport: new(Transport)}
	return slices.Sorted(maps.Keys(parser.readers()))
}

// sameProduct sets the product of the handler to that of the transport.
func (p *directiveParser) sameProduct() error {
	p.handler.Product = p.transport.Product
	_, err := LookupProduct(p.transport.Product)
	return err
}

// texts returns the texts of tokens.
func texts(tokens []caddyfile.Token) []string {
	texts := make([]string, len(tokens))
	for i, token := range tokens {
		texts[i] = token.Text
	}
	return texts
}

// mayBeQuoted reports whether an unknown word looks like an option of this module, so
// that an error may contain it.
func mayBeQuoted(word string) bool { return hidden.MayBeQuoted(word, ownNames()) }
