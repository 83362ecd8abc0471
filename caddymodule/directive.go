// The Caddyfile directive veeam_auth, which distributes its subdirectives among
// handler, transport and reverse_proxy.

package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/caddymodule/forwarder"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/hidden"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/placeholders"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

const directive = "veeam_auth"

// parseDirective sets up the handler and a reverse_proxy with the transport
// from Caddyfile tokens. Syntax:
//
//	veeam_auth [<matcher>] [<upstreams...>] {
//		product      vbr | vspc | vspc35 | azure | aws | gcp | vb365 | one | em
//		index_file   <file>
//		api_version  <version>
//		base_path    <path>
//
//		account <name> [<password>] {
//			grant             password | refresh_token | authorization_code | public_key | as | api_key | saml | sso_token | updater_token | vbr_token | jwt-bearer | operator
//			username          <user>
//			password          <secret>
//			next_password     <secret>
//			totp_secret       <secret>
//			code              <secret>
//			key               <file> [<passphrase>]
//			padding           auto | pkcs1v15 | oaep_sha1 | oaep_sha256
//			public_key_format xml | spki | raw
//			public_key        <file>
//			user_uid          <uuid>
//			parent            <account>
//			client_id         <id>
//			assertion         <secret>
//			read_only
//			short_lived
//			required          on | off
//		}
//
//		token_lifetime   <duration>
//		token_max_lifetime <duration>
//		audience         <name>
//		passthrough
//		expose_upstream_tokens
//		refresh_before   <duration>
//		hold             <duration> [<longest>]
//		lockout_budget   <tries> <window>
//		login_timeout    <duration>
//		login_at         request | start
//		pace             off | <number>/s | <number>/m | <number>/h ...
//		cache {
//			encryption_key <secret>
//			storage        <module> …
//		}
//		session_records  on | off
//		replay_limit     <size>
//		client           <name> [<password-hash> [<account>]] {
//			account        <account>
//			preset         monitor | report | operate
//			token_lifetime <duration>
//			until          <date> [<time zone>]
//			hours          [<days>] <from>-<to> [<time zone>]
//			rate_limit     <requests per second> [<burst>]
//			key            <name> <hash> {
//				preset  monitor | report | operate
//				account <account>
//				from    <network or unix...>
//				until   <date> [<time zone>]
//			}
//		}
//		trust_jwt        [<name>] {
//			issuer <issuer>
//			audience <audience...>
//			jwks_file <file> | jwks_url <url>
//			claim <claim>
//			<others of jwtcaller.Options...>
//		}
//		hosts            <name...>
//		allowed_origins  <origin...>
//		require_authentication
//
//		allow | deny | approve [shadow] [unknown_callers] <matcher> | `<CEL>` | preset <name> | operation <class...> | { <matchers...> }
//		default          allow | deny
//		approvals {
//			wait                   <duration>
//			use_within             <duration>
//			max_body               <size>
//			max_waiting            <number>
//			max_waiting_per_client <number>
//		}
//		rate_limit       <requests per second> [<burst>]
//		max_parallel     <number>
//		forward          auto | nested
//		filter_secrets   [except <client...>]
//		act_as           <account>
//		max_users        <number>
//		tls_pin          <fingerprint...>
//		insecure_http
//		proxy_from_environment
//		upstream_host    <name>
//		log_body_limit   <size> | off
//		log_all_bodies
//		log_trace_id
//
//		# everything else belongs to reverse_proxy
//	}
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	words := hidden.New(ownNames()...)
	values, err := parseDirectiveWith(h, words)
	warnUnusedOnce(h)
	return values, placeholders.WithVariables(words.Check(err))
}

// warnUnusedOnce warns of variables without an effect, once for each file of a configuration,
// which may have a thousand directives. Named routes are adapted by themselves.
func warnUnusedOnce(h httpcaddyfile.Helper) {
	const key = directive + " unused variables"
	if seen, _ := h.State[key].(map[string]bool); seen[h.File()] {
		return
	} else if seen != nil {
		seen[h.File()] = true
	} else if h.State != nil {
		h.State[key] = map[string]bool{h.File(): true}
	}
	placeholders.WarnUnused(h.File(), caddy.Log().Named(directive).Sugar().Warn)
}

// parseDirectiveWith adds the secrets of the directive to words, which errors must not
// contain.
func parseDirectiveWith(h httpcaddyfile.Helper, words *hidden.Words) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	first := *h.Dispenser // remains at the directive, for errors about all of it
	whole := first
	words.Arguments(whole.RemainingArgs())
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	tokens := *h.Dispenser // those of the directive alone; ExtractMatcherSet has returned to before it
	h.Next()               // for warnUnusedOnce and errors: it has a file and a line there
	if err := arguments.Upstreams(*h.Dispenser); err != nil {
		return nil, err
	}
	parser := &directiveParser{helper: h, words: words, handler: new(Handler), transport: new(Transport), named: make(map[[2]string]bool), others: make(map[string]bool), at: make(map[string]caddyfile.Dispenser)}
	others, err := parser.ownSubdirectives(&tokens)
	if err != nil {
		return nil, err
	}
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(others); err != nil {
		return nil, parser.withOwnNames(err)
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
		return nil, err
	}
	if err := parser.finish(&first, proxy); err != nil {
		return nil, err
	}
	route := caddyhttp.Route{HandlersRaw: make([]json.RawMessage, 2)}
	if len(matchers) > 0 {
		route.MatcherSetsRaw = caddyhttp.RawMatcherSets{matchers}
	}
	// Not with caddyconfig.JSONModuleObject, which decodes and encodes everything once more:
	// there may be very many accounts.
	if route.HandlersRaw[0], err = json.Marshal(struct {
		Module string `json:"handler"`
		*Handler
	}{directive, parser.handler}); err != nil {
		return nil, err
	}
	if route.HandlersRaw[1], err = json.Marshal(struct {
		Module string `json:"handler"`
		*reverseproxy.Handler
	}{"reverse_proxy", proxy}); err != nil {
		return nil, err
	}
	return []httpcaddyfile.ConfigValue{{Class: "route", Value: route}}, nil
}

// directiveParser collects the subdirectives that do not belong to reverse_proxy.
type directiveParser struct {
	helper    httpcaddyfile.Helper
	handler   *Handler
	transport *Transport
	words     *hidden.Words
	named     map[[2]string]bool // accounts and clients
	others    map[string]bool    // subdirectives of reverse_proxy, or unknown ones

	// Positions for errors, by what these begin with: a subdirective, or also the name of an
	// account, a client, a key or a provider.
	at map[string]caddyfile.Dispenser
}

// place adds to an error the line of the option that it begins with, or that of the directive.
func (p *directiveParser) place(d *caddyfile.Dispenser, err error) error {
	if wrong, ok := errors.AsType[*account.InvalidError](err); ok {
		at := p.at["account "+p.transport.Accounts[wrong.Number].Name]
		return at.WrapErr(wrong.Err)
	}
	err = errors.New(strings.TrimPrefix(err.Error(), "veeam_auth: ")) // which Caddy says, too
	longest, at := "", *d
	for of, place := range p.at {
		if rest, ok := strings.CutPrefix(err.Error(), of); ok && len(of) > len(longest) && strings.TrimLeft(rest, ": ") != rest {
			longest, at = of, place
		}
	}
	return at.WrapErr(err)
}

// withOwnNames completes an error of reverse_proxy about an unknown subdirective.
func (p *directiveParser) withOwnNames(err error) error {
	if strings.Contains(err.Error(), "URLs for proxy upstreams only support") {
		return fmt.Errorf("%w; write the path of the upstream as base_path", err)
	}
	_, word, found := strings.Cut(err.Error(), "unrecognized subdirective ")
	if !found {
		return err
	}
	at := strings.LastIndex(word, ", at ")
	if at < 0 {
		at = len(word)
	}
	name, block := word[:at], ""
	if p.others[name] {
		block = directive
	}
	if where := hidden.Belongs(name, block, ownNames()); where != "" {
		return fmt.Errorf("%w; it belongs in %s", err, where)
	}
	// A word that is not similar to a known one may be a secret on the wrong line.
	if !mayBeQuoted(name) {
		err = errors.New("unrecognized subdirective" + word[at:])
	}
	if block == "" {
		return fmt.Errorf("%w; write an option of the block that it is in, see reverse_proxy in Caddy's documentation", err)
	}
	return fmt.Errorf("%w; write one of %s, or one of reverse_proxy's", err, strings.Join(ownNames(), ", "))
}

// ownSubdirectives parses the subdirectives of the module and returns the others, which
// are those of reverse_proxy.
func (p *directiveParser) ownSubdirectives(d *caddyfile.Dispenser) (others *caddyfile.Dispenser, err error) {
	readers, seen := p.readers(), make(map[string]bool)
	var kept []caddyfile.Token // there may be very many others
	for d.Next() {
		kept = append(kept, d.Token())
		inBlock := false
		for d.NextBlock(0) {
			if !inBlock { // it has consumed the brace
				d.Prev()
				kept = append(kept, d.Token())
				inBlock = d.Next()
			}
			tokens := d.NextSegment()
			p.words.Segment(texts(tokens))
			sub := caddyfile.NewDispenser(tokens)
			sub.Next()
			name := sub.Val()
			read, own := readers[name]
			switch {
			case !own:
				if err := foreign(sub); err != nil {
					return nil, err
				}
				kept, p.others[name] = append(kept, tokens...), true
				continue
			case seen[name] && !slices.Contains(repeatable, name):
				return nil, sub.Errf("%s is set twice", name)
			}
			seen[name], p.at[name] = true, *sub
			if err := read(sub); err != nil {
				return nil, err
			}
		}
		if !inBlock {
			continue
		}
		if d.ValRaw() != "}" {
			return nil, d.Err("a closing brace must be the last word of its line")
		}
		kept = append(kept, d.Token())
	}
	return caddyfile.NewDispenser(kept), nil
}

// foreign refuses subdirectives of reverse_proxy that conflict with veeam_auth.
func foreign(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "rewrite", "method":
		return d.Errf("%s inside veeam_auth would change a request after the decision. Write rewrite, uri or method outside of the veeam_auth block: "+
			"they run before it. For an upstream below a path use base_path", name)
	case "header_up":
		return withheldHeader(d)
	case "lb_policy":
		ahead := *d
		if args := append(ahead.RemainingArgs(), "", ""); forwarder.CheckSelection(args[0], args[1]) != nil {
			return ahead.WrapErr(forwarder.CheckSelection(args[0], args[1]))
		}
	case "to":
		return arguments.Upstreams(*d)
	case "transport":
		if ahead := *d; ahead.NextArg() && ahead.Val() != "http" {
			return d.Errf("veeam_auth has its own transport with the options of the transport http: write transport http, not transport %s", ahead.Val())
		}
	}
	return nil
}

// withheldHeader refuses header_up for headers that veeam_auth sets itself, or never
// sends. Deleting one is allowed.
func withheldHeader(d *caddyfile.Dispenser) error {
	ahead := *d
	if !ahead.NextArg() {
		return nil
	}
	name := http.CanonicalHeaderKey(strings.TrimLeft(ahead.Val(), "+?>"))
	switch {
	case headers.IsOverride(name):
		return ahead.Errf("header_up %s would make the server read another request than the decided one. "+
			"Write method, rewrite or uri outside of the veeam_auth block", name)
	case headers.IsCredential(name):
		return ahead.Errf("header_up %s has no effect: veeam_auth sends the credential itself. Configure an account", name)
	case name == "Upgrade" || name == "Connection":
		return ahead.Errf("header_up %s would change a request after the decision", name)
	}
	return nil
}

// twice reports whether an account or a client is defined for the second time.
func (p *directiveParser) twice(kind, name string) bool {
	key := [2]string{kind, name}
	before := p.named[key]
	p.named[key] = true
	return before
}

func (p *directiveParser) account(d *caddyfile.Dispenser) error {
	at, a, args := *d, new(account.Account), d.RemainingArgs()
	switch len(args) {
	case 2:
		a.Password = args[1]
		fallthrough
	case 1:
		a.Name = args[0]
	case 0:
		return d.Err("account requires a name: write account <name> <password>")
	default:
		return d.Errf("account accepts a name and a password (got %d more arguments): put quotes around a password with blanks", len(args)-2)
	}
	if p.twice("account", a.Name) {
		return d.Errf("account %s is defined twice", a.Name)
	}
	var seen []string // few, and most accounts have none
	if len(args) == 2 {
		seen = append(seen, "password")
	}
	for d.NextBlock(0) {
		option := d.Val()
		if slices.Contains(seen, option) {
			return d.Errf("account %s: %s is set twice", a.Name, option)
		}
		seen = append(seen, option)
		if err := accountOption(d, a, option); err != nil {
			return err
		}
	}
	p.at["account "+a.Name] = at
	p.transport.Accounts = append(p.transport.Accounts, a)
	return nil
}

// accountOption parses an option of an account.
func accountOption(d *caddyfile.Dispenser, a *account.Account, option string) error {
	if flag := a.Flags()[option]; flag != nil {
		return arguments.None(d, flag)
	}
	if option == "required" {
		args := d.RemainingArgs()
		if len(args) != 1 || args[0] != "on" && args[0] != "off" {
			return d.Errf("account %s: required accepts on or off", a.Name)
		}
		required := args[0] == "on"
		a.Required = &required
		return nil
	}
	target := a.Option(option)
	if target == nil || option == "key_passphrase" {
		return d.Errf("account %s: %s", a.Name, unrecognized("account", option))
	}
	if option == "key" && d.CountRemainingArgs() == 2 {
		args := d.RemainingArgs()
		a.Key, a.KeyPassphrase = args[0], args[1]
		return nil
	}
	return arguments.One(d, target)
}

func (p *directiveParser) pins(d *caddyfile.Dispenser) error {
	pins := d.RemainingArgs()
	if len(pins) == 0 {
		return d.Err("tls_pin requires at least one fingerprint")
	}
	for _, pin := range pins {
		if _, err := tlspin.Parse(pin); err != nil {
			return d.Errf("tls_pin: %v", err)
		}
	}
	p.transport.TLSPins = append(p.transport.TLSPins, pins...)
	return nil
}

// finish checks what requires all subdirectives, and puts the transport into the proxy.
func (p *directiveParser) finish(d *caddyfile.Dispenser, proxy *reverseproxy.Handler) error {
	if len(proxy.Upstreams) == 0 && proxy.DynamicUpstreamsRaw == nil {
		return d.Err("veeam_auth requires the address of a Veeam server: write veeam_auth https://vbr01.lab.local:9419")
	}
	if err := p.adoptTransport(d, proxy.TransportRaw); err != nil {
		return err
	}
	if err := p.adoptHost(proxy); err != nil {
		return p.place(d, err)
	}
	err := p.transport.check()
	if err != nil {
		return p.place(d, err)
	}
	if err := p.handler.checkExpose(p.transport.product); err != nil {
		return p.place(d, err)
	}
	if _, err := operation.Open(p.transport.product.Name, p.handler.IndexFile); err != nil && !arguments.Unread(err) {
		return p.place(d, err)
	}
	if p.transport.LoginAt == loginAtStart && proxy.DynamicUpstreamsRaw != nil {
		return d.Err("login_at start is not allowed with dynamic upstreams: their addresses are known when a request comes")
	}
	if err := p.transport.serves(p.handler); err != nil {
		return p.place(d, err)
	}
	if longest := p.handler.TokenMaxLifetime; longest > 0 {
		if err := issuer.CheckMaxLifetime(time.Duration(longest), cmp.Or(time.Duration(p.handler.TokenLifetime), issuer.DefaultLifetime)); err != nil {
			return p.place(d, err)
		}
	}
	if _, err := clients.Ring(p.handler.Clients); err != nil {
		return p.place(d, err)
	}
	if err := p.handler.FilterSecrets.Read(p.handler.Clients); err != nil {
		return p.place(d, err)
	}
	if _, err := p.handler.trust(); err != nil {
		return p.place(d, err)
	}
	if p.handler.Forward, err = forwarder.Shown(p.handler.Forward, proxy, p.transport.HTTPTransport); err != nil {
		return p.place(d, err)
	}
	proxy.TransportRaw, err = json.Marshal(struct {
		Module string `json:"protocol"`
		*Transport
	}{directive, p.transport})
	return err
}

// adoptTransport takes over the options of reverse_proxy's transport: the configured
// one, or the one that https:// implies.
func (p *directiveParser) adoptTransport(d *caddyfile.Dispenser, raw json.RawMessage) error {
	p.transport.HTTPTransport = new(reverseproxy.HTTPTransport)
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, p.transport.HTTPTransport); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// adoptHost takes over the Host header of header_up, because logins need it too and
// have no client request to take it from.
func (p *directiveParser) adoptHost(proxy *reverseproxy.Handler) error {
	if proxy.Headers == nil || proxy.Headers.Request == nil {
		return nil
	}
	host := proxy.Headers.Request.Set.Get("Host")
	if host == "" {
		return nil
	}
	proxy.Headers.Request.Set.Del("Host")
	switch {
	case host == "{http.reverse_proxy.upstream.hostport}":
		return nil // the default
	case strings.Contains(host, "{"):
		return errors.New("header_up Host does not accept placeholders, because logins and requests use the same host: set upstream_host to a fixed name, or leave it out for the address of the upstream")
	case p.transport.UpstreamHost != "" && p.transport.UpstreamHost != host:
		return errors.New("header_up Host and upstream_host differ: use only upstream_host")
	}
	p.transport.UpstreamHost = host
	return nil
}
