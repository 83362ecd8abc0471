// Random spellings of paths: operations of the index, filled in, and then the
// tricks by which one reader is made to see another path than the next.

package operation_test

import (
	"math/rand/v2"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

var values = []string{
	"57b3baab-6237-41bf-add7-db63d41d984c", "x", "1", "v8", "me", "states", "rsa", "keys", "token", "echo", "start",
	"host.lab.local", "a b", "caf\u00e9", "urn:vmomi:InventoryServiceTag:1:GLOBAL", "50%", "{id}", "..", ".", "users",
}

var escapedValues = []string{
	"%61pi", "a%20b", "caf%C3%A9", "100%25", "%7Bid%7D", "a+b", "a%2Bb", "%2e%2e", "%2E", "..%2f..", "%5c..", "%252e%252e",
}

// fill gives parameters values, most often harmless ones.
func fill(rng *rand.Rand, template string) string {
	segments := strings.Split(template, "/")
	for i, s := range segments {
		switch {
		case s == "{version}":
			segments[i] = pick(rng, "v8", "v8.1", "V8", "v5", "v8.0")
		case s != "" && s[0] == '{' && rng.IntN(8) == 0:
			segments[i] = pick(rng, escapedValues...)
		case s != "" && s[0] == '{':
			segments[i] = pick(rng, values...)
		}
	}
	return strings.Join(segments, "/")
}

func pick(rng *rand.Rand, from ...string) string { return from[rng.IntN(len(from))] }

// spelling makes a request for some operation, or something like it.
func spelling(rng *rand.Rand, x *operation.Index) (method, path string) {
	all := x.All()
	op := all[rng.IntN(len(all))]
	path = fill(rng, op.Path)
	method = op.Method
	switch rng.IntN(12) {
	case 0:
		method = pick(rng, "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get", "Post")
	case 1: // a harmless method on whatever it is
		method = "GET"
	}
	if rng.IntN(4) == 0 {
		path = splice(rng, path, fill(rng, all[rng.IntN(len(all))].Path))
	}
	for range rng.IntN(4) {
		path = harmless[rng.IntN(len(harmless))](rng, path)
	}
	if rng.IntN(2) == 0 {
		path = tricks[rng.IntN(len(tricks))](rng, path)
	}
	return method, path
}

// splice makes one path of two, so that a reader who resolves it sees the second.
func splice(rng *rand.Rand, a, b string) string {
	up := pick(rng, "/..", "/%2e%2e", "/.%2E", `\..`, "%2f..", "%5c..", "/..;x", "/.. ", "/...", "%252f%252e%252e", "%c0%ae%c0%ae")
	switch rng.IntN(3) {
	case 0:
		return a + strings.Repeat(up, strings.Count(a, "/")) + b
	case 1:
		return a + strings.Repeat(up, 1+rng.IntN(3)) + "/" + last(b)
	}
	cut := strings.LastIndexByte(a, '/')
	return a[:cut] + pick(rng, "/", `\`, "%2f", "%5C", "%252f", ";/", "/./", "//", "%c0%af", "\uff0f", "%u002f", "%00/") + last(b)
}

func last(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

type trick func(rng *rand.Rand, path string) string

// harmless tricks are those after which all servers read the same.
var harmless = []trick{
	func(rng *rand.Rand, p string) string { return strings.ToUpper(p) },
	func(rng *rand.Rand, p string) string {
		return atLetter(rng, p, func(c byte) string { return string(c ^ 0x20) })
	},
	func(rng *rand.Rand, p string) string { // an escape that need not be
		const digits = "0123456789abcdef"
		return atLetter(rng, p, func(c byte) string { return "%" + string(digits[c>>4]) + string(digits[c&15]) })
	},
	func(rng *rand.Rand, p string) string {
		return atSlash(rng, p, pick(rng, "//", "/./", "/x/../", "/%2e/", "/x/%2e%2E/", "///", "/.//"))
	},
	func(rng *rand.Rand, p string) string { return p + pick(rng, "/", "//", "/.", "/x/..") },
}

var tricks = []trick{
	func(rng *rand.Rand, p string) string { // twice
		const digits = "0123456789ABCDEF"
		return atLetter(rng, p, func(c byte) string { return "%25" + string(digits[c>>4]) + string(digits[c&15]) })
	},
	func(rng *rand.Rand, p string) string {
		return atSlash(rng, p, pick(rng, `\`, "%2f", "%2F", "%5c", "%5C", "%252f", "%255c", "%c0%af", "%e0%80%af",
			"\uff0f", "%ef%bc%8f", "\u2215", "\u2044", ";/", ";a=b/", "%3b/", "%00/", "/;/", "/.;/", "/..;/", "/ /", "/%20/", "?/", "#/", "%3f/", "%23/"))
	},
	func(rng *rand.Rand, p string) string {
		return p + pick(rng, "/", "//", "/.", "/..", ".", " ", "%20", "%00", "%0a", "\t", ";", ";x=y", "::$DATA", ".json", "?q", "#f", "%", "%2", "%zz", "%u0041", "%ff", "\xff", "%c1%9c", "\u200b", "\u2025", `\`)
	},
	func(rng *rand.Rand, p string) string { // letters that become others
		return strings.NewReplacer("k", "\u212a", "s", "\u017f", "i", "\u0131").Replace(p)
	},
	func(rng *rand.Rand, p string) string { return strings.Replace(p, "s", "%c5%bf", 1) },
	func(rng *rand.Rand, p string) string { return strings.Replace(p, "e", "\uff45", 1) },
	func(rng *rand.Rand, p string) string { return strings.Replace(p, "i", "\u0130", 1) },
	func(rng *rand.Rand, p string) string { return pick(rng, "/", ".", "x", "https://host", `\`, "%2f") + p },
	func(rng *rand.Rand, p string) string { // any byte anywhere
		at := rng.IntN(len(p) + 1)
		return p[:at] + string([]byte{byte(rng.IntN(256))}) + p[at:]
	},
	func(rng *rand.Rand, p string) string { // a byte less
		if p == "" {
			return p
		}
		at := rng.IntN(len(p))
		return p[:at] + p[at+1:]
	},
}

// atLetter replaces one letter somewhere.
func atLetter(rng *rand.Rand, p string, with func(c byte) string) string {
	if p == "" {
		return p
	}
	for range 8 {
		i := rng.IntN(len(p))
		if c := p[i] | 0x20; 'a' <= c && c <= 'z' && (i == 0 || p[i-1] != '%') && (i < 2 || p[i-2] != '%') {
			return p[:i] + with(p[i]) + p[i+1:]
		}
	}
	return p
}

// atSlash replaces one slash somewhere.
func atSlash(rng *rand.Rand, p, with string) string {
	n := strings.Count(p, "/")
	if n == 0 {
		return p
	}
	at := 0
	for range 1 + rng.IntN(n) {
		at += strings.IndexByte(p[at:], '/') + 1
	}
	return p[:at-1] + with + p[at:]
}
