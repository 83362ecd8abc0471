// What rules ask of Caddy's sets of matchers.

package operations

import (
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/policy"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Named reports whether a set requires a class out of a list that contains class.
func Named(set caddyhttp.MatcherSet, class operation.Class) bool {
	return slices.ContainsFunc(set, func(m any) bool {
		named, ok := m.(*MatchOperation)
		return ok && named.set.Has(class)
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
