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

// subject is an operation as rules see it, in lower case.
type subject struct {
	product, method string
	segments        []string
	name, words     string
	secret          bool // a field of the answer is for a secret
}

func subjectOf(p Product, row Row) subject {
	path, name := p.subject(row.Path), strings.ToLower(row.Name)
	return subject{
		product: p.Name, method: row.Method, segments: strings.Split(path, "/"),
		name: name, words: path + " " + name, secret: slices.ContainsFunc(row.Fields, isSecret),
	}
}

func (r *rule) fits(s *subject) bool {
	switch {
	case r.product != "" && !listed(r.product, s.product), r.method != "" && !listed(r.method, s.method):
	case r.fields && !s.secret:
	case r.path != "" && !fitsPath(strings.ToLower(r.path), s.segments):
	case r.name != "" && !fitsAny(strings.ToLower(r.name), s.name):
	case r.unless != "" && hasWord(r.unless, s.words):
	default:
		return true
	}
	return false
}

// listed reports whether a word is in a list with spaces between.
func listed(list, word string) bool {
	for one := range strings.SplitSeq(list, " ") {
		if one == word {
			return true
		}
	}
	return false
}

// fitsPath compares a pattern with segments.
func fitsPath(pattern string, segments []string) bool {
	first, rest, more := strings.Cut(pattern, "/")
	if first == "**" {
		for skip := range len(segments) + 1 {
			if !more && skip == len(segments) || more && fitsPath(rest, segments[skip:]) {
				return true
			}
		}
		return false
	}
	if len(segments) == 0 || !fitsAny(first, segments[0]) {
		return false
	}
	if !more {
		return len(segments) == 1
	}
	return fitsPath(rest, segments[1:])
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

// Classify returns the class of an operation and the reason for it. ok is false if no
// rule matches; the class is Unknown then.
func Classify(p Product, row Row) (class operation.Class, why string, ok bool) {
	s := subjectOf(p, row)
	for i := range rules {
		if rules[i].fits(&s) {
			return rules[i].class, rules[i].why, true
		}
	}
	return operation.Unknown, fmt.Sprintf("no rule matches %s %s %s", p.Name, row.Method, row.Path), false
}
