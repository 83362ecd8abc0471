// Conditions on method and path that allocate nothing: the common case of a rule.

package policy

import (
	"net/http"
	"slices"
	"strings"
)

// All is a condition that matches if all of its parts match.
type All []Matcher

// MatchWithError implements Matcher.
func (a All) MatchWithError(r *http.Request) (bool, error) {
	for _, m := range a {
		if ok, err := m.MatchWithError(r); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Methods is a condition on the method.
type Methods []string

// MatchWithError implements Matcher.
func (m Methods) MatchWithError(r *http.Request) (bool, error) {
	return slices.Contains(m, r.Method), nil
}

// Paths is a condition on the path, case-insensitive like the servers: any of several
// patterns, each with a * at its start, its end, both, or none. Patterns that are not
// Simple do not match.
type Paths []string

// SimplePath reports whether Paths supports a pattern.
func SimplePath(pattern string) bool {
	inner := strings.TrimSuffix(strings.TrimPrefix(pattern, "*"), "*")
	return !strings.ContainsAny(inner, `*?[\%{`) && !strings.Contains(inner, "//")
}

// MatchWithError implements Matcher.
func (p Paths) MatchWithError(r *http.Request) (bool, error) {
	for _, pattern := range p {
		if matchPath(pattern, r.URL.Path) {
			return true, nil
		}
	}
	return false, nil
}

func matchPath(pattern, path string) bool {
	head := strings.HasPrefix(pattern, "*")
	tail := strings.HasSuffix(pattern, "*")
	switch {
	case pattern == "*" || pattern == "**":
		return true
	case head && tail:
		return containsFold(path, pattern[1:len(pattern)-1])
	case head:
		want := pattern[1:]
		return len(path) >= len(want) && equalFold(path[len(path)-len(want):], want)
	case tail:
		want := pattern[:len(pattern)-1]
		return len(path) >= len(want) && equalFold(path[:len(want)], want)
	}
	return equalFold(path, pattern)
}

func containsFold(text, part string) bool {
	for i := 0; i+len(part) <= len(text); i++ {
		if equalFold(text[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// equalFold compares without regard to the case of ASCII letters; the servers'
// paths have no others. It begins at the end, because that is where the patterns
// of one product differ.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := len(a) - 1; i >= 0; i-- {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
