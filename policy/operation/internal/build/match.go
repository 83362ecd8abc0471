// How a row of the rules fits an operation.

package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// rule is a row of the table. An empty column fits everything.
type rule struct {
	// product and method are one or several.
	product, method string

	// path is a pattern. It is compared with the path below /api/v1 and the like,
	// segment by segment and without regard to case: a segment of the pattern is
	// a list of words between bars, * in a word stands for any characters, {} for
	// a parameter, ** for any number of segments.
	path string

	class operation.Class
	why   string

	// name is a pattern on the operation's name.
	name string

	// unless is a list of words between bars: the rule is for none whose path or
	// name has one of them.
	unless string

	// fields: only if a field of the answer is for a secret.
	fields bool
}

func (r *rule) fits(p Product, row Row) bool {
	subject := p.subject(row.Path)
	switch {
	case r.product != "" && !slices.Contains(strings.Fields(r.product), p.Name):
	case r.method != "" && !slices.Contains(strings.Fields(r.method), row.Method):
	case r.path != "" && !fitsPath(strings.Split(strings.ToLower(r.path), "/"), strings.Split(subject, "/")):
	case r.name != "" && !fitsAny(strings.ToLower(r.name), strings.ToLower(row.Name)):
	case r.unless != "" && hasWord(r.unless, subject+" "+strings.ToLower(row.Name)):
	case r.fields && !slices.ContainsFunc(row.Fields, isSecret):
	default:
		return true
	}
	return false
}

// fitsPath compares lists of segments.
func fitsPath(pattern, segments []string) bool {
	if len(pattern) == 0 {
		return len(segments) == 0
	}
	if pattern[0] == "**" {
		for skip := range len(segments) + 1 {
			if fitsPath(pattern[1:], segments[skip:]) {
				return true
			}
		}
		return false
	}
	return len(segments) > 0 && fitsAny(pattern[0], segments[0]) && fitsPath(pattern[1:], segments[1:])
}

func fitsAny(patterns, s string) bool {
	for pattern := range strings.SplitSeq(patterns, "|") {
		if fitsWord(pattern, s) {
			return true
		}
	}
	return false
}

func fitsWord(pattern, s string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return s == pattern
	}
	rest, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	for skip := range len(rest) + 1 {
		if fitsWord(tail, rest[skip:]) {
			return true
		}
	}
	return false
}

func hasWord(words, s string) bool {
	for word := range strings.SplitSeq(words, "|") {
		if strings.Contains(s, word) {
			return true
		}
	}
	return false
}

// harmless are fields that look like secrets by their name only: they name a
// password, hint at it or count changes.
var harmless = []string{
	"encryptionPasswordId", "encryptionPasswordIdOrNull", "encryptionPasswordTag", "encryptionPasswordUniqueId",
	"passwordId", "passwordHint", "nextChangeToken", "token_type",
}

func isSecret(field string) bool { return !slices.Contains(harmless, field) }

// Classify returns the class of an operation and the reason. Its third result is
// false if no rule is for it: its class is Unknown then.
func Classify(p Product, row Row) (class operation.Class, why string, ok bool) {
	for i := range rules {
		if rules[i].fits(p, row) {
			return rules[i].class, rules[i].why, true
		}
	}
	return operation.Unknown, fmt.Sprintf("no rule is for %s %s %s", p.Name, row.Method, row.Path), false
}
