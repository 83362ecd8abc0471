// Operations that a parameter of the query selects, such as ?action=start.

package operation

import (
	"fmt"
	"slices"
	"strings"
)

// selected is an operation that a parameter selects.
type selected struct {
	method int
	name   string // in lower case
	value  string // in lower case; empty for any that is not empty
	place  int    // in Index.operations
}

// addSelected puts an operation with a query to the node of its path.
func (x *Index) addSelected(n *node, method, place int) error {
	op := &x.operations[place]
	name, value, _ := strings.Cut(strings.ToLower(op.Query), "=")
	if value == "" || !isWord(name) || value[0] != '{' && !isWord(value) {
		return fmt.Errorf("query %q is not a name and a value", op.Query)
	}
	if value[0] == '{' {
		value = ""
	}
	for _, other := range n.selected {
		if other.method == method && other.name == name && (other.value == value || other.value == "" || value == "") {
			return fmt.Errorf("%s %s: duplicate operation", op.Method, op.Target())
		}
	}
	n.selected = append(n.selected, selected{method, name, value, place})
	if !slices.Contains(x.selectors, name) {
		x.selectors = append(x.selectors, name)
	}
	return nil
}

// place is the place of the operation that ends at a node, or -1.
func (s *search) place(n *node) int {
	if s.selector == "" {
		return int(n.ops[s.method]) - 1
	}
	for i := range n.selected {
		o := &n.selected[i]
		if o.method == s.method && o.name == s.selector && (o.value == "" || equalLower(o.value, s.value)) {
			return o.place
		}
	}
	return -1
}

// selected finds the parameter of a query that selects the operation. The name is
// empty if there is none. ok is false if there are several or if the value is empty,
// and if a name is not that of a selecting parameter but may be one for some servers:
// action[], x.action or ?action.
func (x *Index) selected(query string) (name, value string, ok bool) {
	for pair := range strings.SplitSeq(query, "&") {
		given, with, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(given, "%+") {
			given = unescapeQuery(given)
		}
		for _, selector := range x.selectors {
			switch {
			case equalLower(selector, given):
				if name != "" || with == "" {
					return "", "", false
				}
				name, value = selector, with
			case hasWord(given, selector):
				return "", "", false
			}
		}
	}
	return name, value, true
}

// hasWord reports whether a name has a word, in any case, with no letter, digit, -
// or _ beside it.
func hasWord(name, word string) bool {
	for i := 0; i+len(word) <= len(name); i++ {
		end := i + len(word)
		if equalLower(word, name[i:end]) && (i == 0 || !wordByte(name[i-1])) && (end == len(name) || !wordByte(name[end])) {
			return true
		}
	}
	return false
}

func isWord(text string) bool {
	for i := range len(text) {
		if !wordByte(text[i]) {
			return false
		}
	}
	return text != ""
}

func wordByte(c byte) bool {
	c = lower[c]
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// Selecting returns the parameters of a query that select operations of any product,
// without all others.
func Selecting(query string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(selecting, strings.ToLower(name)) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// selecting are the names of the parameters that select operations in the indexes that
// ship.
var selecting = []string{"action", "type", "hierarchyref"}
