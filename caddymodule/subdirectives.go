// The table of subdirectives and their parsers.

package caddymodule

import (
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/internal/hidden"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// reader parses a subdirective. The dispenser is at its name.
type reader = func(*caddyfile.Dispenser) error

// repeatable are the subdirectives that may be written more than once.
var repeatable = []string{"account", "client", "allow", "deny", "approve", "hosts", "allowed_origins", "tls_pin", "trust_jwt"}

// readers returns the parsers of the subdirectives by name.
func (p *directiveParser) readers() map[string]reader {
	t, h := p.transport, p.handler
	return map[string]reader{
		"account":                p.account,
		"act_as":                 to(&h.ActAs, arguments.One),
		"allow":                  p.rule,
		"allowed_origins":        to(&h.AllowedOrigins, arguments.Origins),
		"api_version":            to(&t.APIVersion, arguments.One),
		"approvals":              p.approvals,
		"approve":                p.rule,
		"audience":               checked(to(&h.Audience, arguments.One), func() error { return issuer.CheckAudience(h.Audience) }),
		"base_path":              checked(to(&t.BasePath, arguments.One), func() error { return upstream.CheckBasePath(t.BasePath) }),
		"cache":                  p.cache,
		"client":                 p.client,
		"default":                func(d *caddyfile.Dispenser) error { return arguments.Choice(d, &h.Default, "allow", "deny") },
		"deny":                   p.rule,
		"expose_upstream_tokens": to(&h.ExposeUpstreamTokens, arguments.None),
		"filter_secrets":         p.filterSecrets,
		"forward": func(d *caddyfile.Dispenser) error {
			return arguments.Choice(d, &h.Forward, forwarder.Auto, forwarder.Nested)
		},
		"hold":           p.hold,
		"hosts":          checked(to(&h.Hosts, arguments.List), func() error { return policy.CheckHosts(h.Hosts) }),
		"index_file":     to(&h.IndexFile, arguments.One),
		"insecure_http":  to(&t.InsecureHTTP, arguments.None),
		"lockout_budget": p.lockoutBudget,
		"log_all_bodies": to(&h.LogAllBodies, arguments.None),
		"log_body_limit": func(d *caddyfile.Dispenser) error { return arguments.SizeOrOff(d, &h.LogBodyLimit, maxLogBodyLimit) },
		"log_trace_id":   to(&h.LogTraceID, arguments.None),
		"login_at": func(d *caddyfile.Dispenser) error {
			return arguments.Choice(d, &t.LoginAt, loginAtRequest, loginAtStart)
		},
		"login_timeout":          to(&t.LoginTimeout, arguments.Duration),
		"max_parallel":           to(&h.MaxParallel, arguments.Count),
		"max_users":              to(&t.MaxUsers, arguments.Count),
		"pace":                   to(&t.Pace, parsed(ratelimit.ParsePace)),
		"passthrough":            checked(to(&h.Passthrough, arguments.None), func() error { t.Passthrough = true; return nil }),
		"product":                checked(to(&t.Product, arguments.One), p.sameProduct),
		"proxy_from_environment": to(&t.ProxyFromEnvironment, arguments.None),
		"rate_limit":             to(&h.RateLimit, parsed(ratelimit.ParsePerCaller)),
		"refresh_before":         to(&t.RefreshBefore, arguments.Duration),
		"replay_limit":           to(&t.ReplayLimit, arguments.Size),
		"require_authentication": to(&h.RequireAuthentication, arguments.None),
		"session_records":        func(d *caddyfile.Dispenser) error { return arguments.Choice(d, &t.SessionRecords, "on", "off") },
		"tls_pin":                p.pins,
		"token_lifetime":         checked(to(&h.TokenLifetime, arguments.Duration), func() error { return issuer.CheckLifetime(time.Duration(h.TokenLifetime)) }),
		"token_max_lifetime":     p.maxLifetime,
		"trust_jwt":              p.trustJWT,
		"upstream_host":          to(&t.UpstreamHost, arguments.One),
	}
}

// ownNames returns the names of all subdirectives of the module, sorted.
func ownNames() []string {
	parser := &directiveParser{handler: new(Handler), transport: new(Transport)}
	return slices.Sorted(maps.Keys(parser.readers()))
}

// to parses arguments into target.
func to[T any](target *T, read func(*caddyfile.Dispenser, *T) error) reader {
	return func(d *caddyfile.Dispenser) error { return read(d, target) }
}

// parsed returns a reader that parses all arguments of a subdirective without a block.
func parsed[T any](parse func(words []string) (T, error)) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, target *T) (err error) {
		name := d.Val()
		if *target, err = parse(d.RemainingArgs()); err != nil {
			return d.WrapErr(err)
		}
		return arguments.NoBlock(d, name)
	}
}

// checked returns a reader that validates its result with check.
func checked(read reader, check func() error) reader {
	return func(d *caddyfile.Dispenser) error {
		if err := read(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}

// sameProduct sets the product of the handler to that of the transport.
func (p *directiveParser) sameProduct() error {
	p.handler.Product = p.transport.Product
	_, err := LookupProduct(p.transport.Product)
	return err
}

func (p *directiveParser) maxLifetime(d *caddyfile.Dispenser) error {
	p.lifetimeAt = *d
	return arguments.Duration(d, &p.handler.TokenMaxLifetime)
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
