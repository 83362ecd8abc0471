// The names by which frameworks and front ends let a client change the request line.

package operation

import "strings"

// overrideRole is what a word of such a name says.
type overrideRole uint8

const (
	ofMethod overrideRole = 1 << iota // of the request line
	ofPath                            // of the request line
	another                           // than the one in the request line
)

// overrideWord is a word of such a name.
type overrideWord struct {
	text string
	role overrideRole
}

// overrideWords are the words of these names, by their first letter. Each program has made
// up its own name. Where one word begins with another, the longer one is first.
var overrideWords = func() (words [256][]overrideWord) {
	for _, row := range [...]overrideWord{
		{"method verb", ofMethod},
		{"path uri url prefix", ofPath},
		{"override overwrite rewritten rewrite replaced original orig forwarded unencoded x", another},
		{"https http request proxy full raw real envoy waws ms", 0},
	} {
		for text := range strings.FieldsSeq(row.text) {
			words[text[0]] = append(words[text[0]], overrideWord{text, row.role})
		}
	}
	return words
}()

// Overrides reports whether some servers or front ends take the method or the path from what
// has this name, such as the header X-Original-URL or the parameter _method. They would read
// another request than the rules.
func Overrides(name string) (method, path bool) {
	var roles overrideRole
	if name != "" && (name[0] == '_' || name[0] == '-') {
		roles = another
	}
next:
	for i := 0; i < len(name); {
		if name[i] == '-' || name[i] == '_' || name[i] == '.' {
			i++
			continue
		}
		for _, word := range overrideWords[lower[name[i]]] {
			if end := i + len(word.text); end <= len(name) && sameASCII(name[i:end], word.text) {
				i, roles = end, roles|word.role
				continue next
			}
		}
		return false, false // nearly all names end here
	}
	if roles&another == 0 {
		return false, false
	}
	return roles&ofMethod > 0, roles&ofPath > 0
}
