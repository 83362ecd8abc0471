// Rules in a Caddyfile.

package rules

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/caddymodule/arguments"
	"github.com/caddy-veeam/veeam-auth/caddymodule/operations"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Read reads an allow, a deny or an approve:
//
//	allow | deny | approve [shadow] [unknown_callers] [* | <path> | @<name> | `<CEL>` | preset <name> | <matcher> <args...>] {
//		<matchers...>
//	}
func Read(h httpcaddyfile.Helper, d *caddyfile.Dispenser) (*Rule, error) {
	r := &Rule{Effect: d.Val(), Source: fmt.Sprintf("%s:%d", filepath.Base(d.File()), d.Line())}
	tokens := d.NextSegment()
	flags := map[string]*bool{"shadow": &r.Shadow, "unknown_callers": &r.UnknownCallers}
	for len(tokens) > 1 && !tokens[1].Quoted() && flags[tokens[1].Text] != nil { // an argument may have such a name
		*flags[tokens[1].Text] = true
		tokens = slices.Delete(tokens, 1, 2)
	}
	if r.UnknownCallers && r.Effect == string(policy.Approve) {
		return nil, d.Err("approve does not accept unknown_callers: an approval is for one caller")
	}
	rest := caddyfile.NewDispenser(tokens)
	rest.Next()
	if len(tokens) == 1 {
		return nil, d.Errf("%s requires a condition: write %s * for every request", r.Effect, r.Effect)
	}
	var err error
	switch first := tokens[1]; {
	case first.Text == "preset" && !first.Quoted():
		rest.Next()
		err = r.preset(rest)
	case !first.Quoted() && (first.Text == "*" || strings.HasPrefix(first.Text, "/") || strings.HasPrefix(first.Text, "@")):
		if len(tokens) > 2 {
			return nil, d.Errf("%s accepts one matcher of this kind: write several in a block", r.Effect)
		}
		var set caddy.ModuleMap
		if set, _, err = h.WithDispenser(rest).MatcherToken(); err != nil {
			return nil, d.WrapErr(err)
		}
		r.MatcherSetsRaw = sets(set)
	default:
		if err := operations.Expand(r.Effect, tokens); err != nil {
			return nil, err
		}
		var set caddy.ModuleMap
		if set, err = caddyhttp.ParseCaddyfileNestedMatcherSet(rest); err == nil {
			err = operations.CheckValues(set, *caddyfile.NewDispenser(tokens))
		} else if _, name, found := strings.Cut(err.Error(), "module not registered: http.matchers."); found {
			err = fmt.Errorf("%w; write %s", err, instead(name))
		}
		r.MatcherSetsRaw = sets(set)
	}
	return r, err
}

// instead returns what to write in the place of a matcher that does not exist. name begins
// with its name.
func instead(name string) string {
	name, _, _ = strings.Cut(name, ",")
	if slices.Contains([]string{"client", "key", "provider", "account"}, name) {
		return "vars {http.veeam_auth." + name + "} <name>"
	}
	return "preset, operation, during, until, or a matcher of Caddy such as path or method"
}

func sets(set caddy.ModuleMap) caddyhttp.RawMatcherSets {
	if len(set) == 0 {
		return nil
	}
	return caddyhttp.RawMatcherSets{set}
}

func (r *Rule) preset(d *caddyfile.Dispenser) error {
	if err := arguments.One(d, &r.Preset); err != nil {
		return err
	}
	if _, ok := operation.Preset(r.Preset); !ok {
		return d.WrapErr(operation.UnknownPreset(r.Preset))
	}
	return nil
}
