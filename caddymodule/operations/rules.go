// What rules ask of Caddy's sets of matchers.

package operations

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Expand replaces the matcher names operation, during and until by their full names: as the
// first word after the effect, as the first word of a line of the block, and after not. A
// class, a preset or preset in such a place is an error.
func Expand(effect string, tokens []caddyfile.Token) error {
	depth := 0
	for i := 1; i < len(tokens); i++ {
		name := tokens[i].Text
		first := i == 1 || depth == 1 && tokens[i].Line != tokens[i-1].Line || tokens[i-1].Text == "not"
		if first && !tokens[i].Quoted() {
			if name == "operation" || name == "during" || name == "until" {
				tokens[i].Text = "veeam_" + name
			} else if meant := meant(effect, name); meant != "" {
				at := caddyfile.NewDispenser(tokens[i:])
				at.Next()
				return at.Errf("%s is no matcher: write %s", name, meant)
			}
		}
		switch name {
		case "{":
			depth++
		case "}":
			depth--
		}
	}
	return nil
}

// meant returns what was probably meant by a word that is no matcher.
func meant(effect, name string) string {
	if _, ok := operation.Preset(name); ok {
		return effect + " preset " + name + ", without a block"
	}
	if _, ok := operation.ParseClass(name); ok {
		return "operation " + name
	}
	if name == "preset" {
		return effect + " preset and its name, without a block, or operation and the classes here"
	}
	return ""
}

// CheckValues returns an error for a matcher without a value, such as method, which Caddy
// does not refuse before it starts.
func CheckValues(set caddy.ModuleMap, at caddyfile.Dispenser) error {
	for name, raw := range set {
		if string(raw) == "null" {
			for at.Val() != name && at.Next() { //nolint:revive // to the name
			}
			return at.Errf("%s requires a value: write %[1]s and what it matches", name)
		}
		if name != "not" {
			continue
		}
		var inner []caddy.ModuleMap
		if err := json.Unmarshal(raw, &inner); err != nil {
			return at.WrapErr(err)
		}
		for _, set := range inner {
			if err := CheckValues(set, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// Named reports whether a set requires a class out of a list that contains class.
func Named(set caddyhttp.MatcherSet, class operation.Class) bool {
	return slices.ContainsFunc(set, func(m any) bool {
		named, ok := m.(*MatchOperation)
		return ok && named.set.Has(class)
	})
}

// Ended reports whether each of the sets requires a time before an end that has passed.
func Ended(sets caddyhttp.MatcherSets, now time.Time) bool {
	return len(sets) > 0 && !slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(m any) bool {
			until, ok := m.(interface{ Ended(now time.Time) bool })
			return ok && until.Ended(now)
		})
	})
}

// Simplify replaces the matchers of a set with equivalents that do not allocate, if all
// of them have one.
func Simplify(set caddyhttp.MatcherSet) policy.Matcher {
	simple := make(policy.All, 0, len(set))
	for _, m := range set {
		switch m := m.(type) {
		case *caddyhttp.MatchMethod:
			simple = append(simple, policy.Methods(*m))
		case caddyhttp.MatchMethod:
			simple = append(simple, policy.Methods(m))
		case *caddyhttp.MatchPath:
			paths, ok := simplePaths(*m)
			if !ok {
				return set
			}
			simple = append(simple, paths)
		case caddyhttp.MatchPath:
			paths, ok := simplePaths(m)
			if !ok {
				return set
			}
			simple = append(simple, paths)
		case policy.AnySpelling:
			simple = append(simple, m)
		default:
			return set
		}
	}
	return simple
}

// simplePaths returns the patterns without trailing slashes, because the paths to match
// have none.
func simplePaths(patterns []string) (policy.Paths, bool) {
	paths := make(policy.Paths, len(patterns))
	for i, pattern := range patterns {
		if !policy.SimplePath(pattern) {
			return nil, false
		}
		paths[i] = canonical.WithoutSlash(pattern)
	}
	return paths, true
}
