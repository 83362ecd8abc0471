// The subdirectives about callers and what they may do: client, allow, deny,
// default, filter_secrets.

package caddymodule

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// rule reads an allow or a deny:
//
//	allow | deny [shadow] [unknown_callers] [* | <path> | @<name> | `<CEL>` | preset <name> | <matcher> <args...>] {
//		<matchers...>
//	}
func (p *directiveParser) rule(d *caddyfile.Dispenser) error {
	r := &Rule{Effect: d.Val(), Source: fmt.Sprintf("%s:%d", filepath.Base(d.File()), d.Line())}
	tokens := d.NextSegment()
	for name, flag := range map[string]*bool{"shadow": &r.Shadow, "unknown_callers": &r.UnknownCallers} {
		if i := slices.IndexFunc(tokens[:min(3, len(tokens))], func(t caddyfile.Token) bool { return t.Text == name && !t.Quoted() }); i > 0 {
			*flag = true
			tokens = slices.Delete(tokens, i, i+1)
		}
	}
	rest := caddyfile.NewDispenser(tokens)
	rest.Next()
	if len(tokens) == 1 {
		return d.Errf("%s needs a condition; write %s * for every request", r.Effect, r.Effect)
	}
	var err error
	switch first := tokens[1]; {
	case first.Text == "preset" && !first.Quoted():
		rest.Next()
		err = r.preset(rest)
	case !first.Quoted() && (first.Text == "*" || strings.HasPrefix(first.Text, "/") || strings.HasPrefix(first.Text, "@")):
		if len(tokens) > 2 {
			return d.Errf("%s takes one matcher of this kind; write several in a block", r.Effect)
		}
		var set caddy.ModuleMap
		if set, _, err = p.helper.WithDispenser(rest).MatcherToken(); err != nil {
			return d.WrapErr(err)
		}
		r.MatcherSetsRaw = sets(set)
	default:
		expandOperation(tokens)
		var set caddy.ModuleMap
		set, err = caddyhttp.ParseCaddyfileNestedMatcherSet(rest)
		r.MatcherSetsRaw = sets(set)
	}
	p.handler.Rules = append(p.handler.Rules, r)
	return err
}

func sets(set caddy.ModuleMap) caddyhttp.RawMatcherSets {
	if len(set) == 0 {
		return nil
	}
	return caddyhttp.RawMatcherSets{set}
}

func (r *Rule) preset(d *caddyfile.Dispenser) error {
	if err := oneArg(d, &r.Preset); err != nil {
		return err
	}
	if _, ok := operation.Preset(r.Preset); !ok {
		return d.Errf("unknown preset %q; write one of %s", r.Preset, strings.Join(operation.Presets(), ", "))
	}
	return nil
}

// expandOperation writes the matcher operation by its full name: as the first
// word behind the effect, as the first word of a line of its block, and behind not.
func expandOperation(tokens []caddyfile.Token) {
	depth := 0
	for i := 1; i < len(tokens); i++ {
		first := i == 1 || depth == 1 && tokens[i].Line != tokens[i-1].Line || tokens[i-1].Text == "not"
		if first && tokens[i].Text == "operation" && !tokens[i].Quoted() {
			tokens[i].Text = "veeam_operation"
		}
		switch tokens[i].Text {
		case "{":
			depth++
		case "}":
			depth--
		}
	}
}

// filterSecrets reads for whom answers are filtered:
//
//	filter_secrets [except <client...>]
func (p *directiveParser) filterSecrets(d *caddyfile.Dispenser) error {
	p.handler.FilterSecrets = new(FilterSecrets)
	if args := d.RemainingArgs(); len(args) > 0 {
		if args[0] != "except" || len(args) == 1 {
			return d.Err("filter_secrets takes nothing, or except and the names of callers")
		}
		p.handler.FilterSecrets.Except = args[1:]
	}
	p.filterAt = *d
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Err("filter_secrets takes no block")
	}
	return nil
}

// client reads a client:
//
//	client <name> <password-hash> [<account>]
func (p *directiveParser) client(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return d.Err("client takes a name, the hash of a password (caddy hash-password makes one) and perhaps an account")
	}
	c := &Client{Name: args[0], Hash: args[1]}
	if len(args) == 3 {
		c.Account = args[2]
	}
	if _, err := c.check(); err != nil {
		return d.WrapErr(err)
	}
	if slices.ContainsFunc(p.handler.Clients, func(other *Client) bool { return other.Name == c.Name }) {
		return d.Errf("client %s is defined twice", c.Name)
	}
	p.handler.Clients = append(p.handler.Clients, c)
	return noBlock(d)
}
