// The subdirectives with more than one value: allow, deny, filter_secrets, client,
// trust_jwt, hold.

package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/caddymodule/rules"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
	"github.com/caddy-veeam/veeam-auth/internal/hidden"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
)

// rule reads an allow, a deny or an approve.
func (p *directiveParser) rule(d *caddyfile.Dispenser) error {
	r, err := rules.Read(p.helper, d)
	p.handler.Rules = append(p.handler.Rules, r)
	return err
}

// filterSecrets reads for whom answers are filtered:
//
//	filter_secrets [except <client...>]
func (p *directiveParser) filterSecrets(d *caddyfile.Dispenser) error {
	p.handler.FilterSecrets = new(clients.FilterSecrets)
	if args := d.RemainingArgs(); len(args) > 0 {
		if args[0] != "except" || len(args) == 1 {
			return d.Err("filter_secrets accepts nothing, or except and names of callers")
		}
		p.handler.FilterSecrets.Except = args[1:]
	}
	return arguments.NoBlock(d, "filter_secrets")
}

// client reads a client:
//
//	client <name> [<password-hash> [<account>]] {
//		<limits...>
//		key <name> <hash> {
//			<scope...>
//		}
//	}
func (p *directiveParser) client(d *caddyfile.Dispenser) error {
	at, args := *d, d.RemainingArgs()
	c := new(clients.Client)
	for i, target := range []*string{&c.Name, &c.Hash, &c.Account}[:min(len(args), 3)] {
		*target = args[i]
	}
	block, err := arguments.Block(d, "client "+c.Name, clients.Options, unrecognized, clients.Repeatable, c.Set, func(option string) error {
		if option != "key" {
			return arguments.NoBlock(d, option)
		}
		of := "key " + c.Keys[len(c.Keys)-1].Name
		p.at["client "+c.Name+": "+of] = *d
		_, err := arguments.Block(d, of, clients.KeyOptions, unrecognized, clients.Repeatable, c.SetKey, nil)
		return err
	})
	if err != nil {
		return err
	}
	if len(args) == 0 || len(args) > 3 || len(args) == 1 && !block {
		return at.Err("client accepts a name, a password hash (see caddy hash-password) and an optional account; without a hash it requires a block that is not empty")
	}
	if _, err := c.Check(); err != nil {
		return at.WrapErr(err)
	}
	if p.twice("client", c.Name) {
		return d.Errf("client %s is defined twice", c.Name)
	}
	p.at["client "+c.Name] = at
	p.handler.Clients = append(p.handler.Clients, c)
	return nil
}

// unrecognized says what is wrong with an unknown option of a block, such as client grafana.
func unrecognized(of, option string) string {
	block, _, _ := strings.Cut(of, " ")
	return hidden.Unrecognized(option, block, ownNames())
}

// trustJWT reads an identity provider:
//
//	trust_jwt [<name>] {
//		<options...>
//	}
func (p *directiveParser) trustJWT(d *caddyfile.Dispenser) error {
	at := *d
	c := new(jwtcaller.Config)
	if err := c.SetName(d.RemainingArgs()); err != nil {
		return d.WrapErr(err)
	}
	if _, err := arguments.Block(d, "trust_jwt "+c.Name, jwtcaller.Options, unrecognized, jwtcaller.Repeatable, c.Set, nil); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return at.WrapErr(err)
	}
	p.at[strings.TrimSpace("trust_jwt "+c.Name)] = at
	p.handler.TrustJWT = append(p.handler.TrustJWT, c)
	return nil
}

// hold reads: hold <duration> [<longest>]
func (p *directiveParser) hold(d *caddyfile.Dispenser) error {
	t := p.transport
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Err("hold accepts one or two durations, for example: hold 5m 30m")
	}
	for i, target := range []*caddy.Duration{&t.Hold, &t.HoldMost}[:len(args)] {
		value, err := caddy.ParseDuration(args[i])
		if err != nil || value <= 0 {
			return d.Errf("hold: %q is not a duration above zero, for example 90s, 5m or 1h", args[i])
		}
		*target = caddy.Duration(value)
	}
	p.at["hold_most"] = p.at["hold"]
	return arguments.NoBlock(d, "hold")
}
