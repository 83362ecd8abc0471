// What the conditions of rules look at in a request.

package canonical

import (
	"net/url"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Words are the words of the conditions of rules, in lower case. What one of them names
// matters to a decision.
type Words map[string]bool

// Add adds the words of a text.
func (w Words) Add(text string) {
	for word := range wordsOf(text) {
		w[word] = true
	}
}

// Has reports whether a rule may look at what has this name: a header or a parameter.
func (w Words) Has(name string) bool {
	if len(w) == 0 {
		return false
	}
	for word := range wordsOf(name) {
		if !w[word] {
			return false
		}
	}
	return true
}

func wordsOf(text string) func(yield func(string) bool) {
	return strings.FieldsFuncSeq(strings.ToLower(text), func(c rune) bool {
		return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
	})
}

// agree reports whether all readers agree on what rules look at in a query, spelled by
// operation.CleanQuery. Of other values none is the wrong one.
func (w Words) agree(query string) bool {
	if len(w) == 0 || !strings.ContainsAny(query, "%+.?") { // with a bracket comes an escape
		return true
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			if w.within(decoded) {
				return false
			}
			if !w.Has(decoded) {
				continue
			}
		}
		if decoded, err := url.QueryUnescape(value); err != nil || !operation.Unambiguous(decoded) {
			return false
		}
	}
	return true
}

// within reports whether a name may stand for another one that a rule looks at: ASP.NET takes
// format[0], format[] and filter.format for format, and [0] for any list; others skip a second ?.
func (w Words) within(name string) bool {
	if !strings.ContainsAny(name, ".[?") {
		return false
	}
	for word := range wordsOf(name) {
		if w[word] {
			return true
		}
	}
	return strings.HasPrefix(name, "[")
}
