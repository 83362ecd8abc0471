// The normaliser of queries: one spelling for each, and none for those that
// servers read in more than one way.

package operation

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CleanQuery returns the one spelling of a query, the one to decide by and to
// send. raw is the query as it was received, without the question mark. The second
// result is false if servers differ about what it means, or if a part of it would
// have some servers read another method: such a request is to be refused.
//
// What is put right, because every reader agrees on it:
//
//   - percent escapes of letters, digits and -._~ are decoded, once
//   - what does not belong into a query is escaped, with capital digits; also ;,
//     which separates parameters for some servers if it is not escaped
//
// What stays as it was received: the case of letters, the order, empty parameters.
//
// What is refused:
//
//   - a % that begins no escape
//   - two names that differ in their case only: servers merge them, or take one
//   - in a name: what Clean refuses in a segment of a path, except characters that
//     structure a path only
//   - names by which frameworks let a client override the method: _method and the
//     like
func CleanQuery(raw string) (query string, ok bool) {
	if raw == "" {
		return "", true
	}
	query = raw
	if !ordinaryQuery(raw) {
		if query, ok = spellQuery(raw); !ok {
			return "", false
		}
	}
	return query, namesAgree(query)
}

// queryBytes are the bytes that stay as they are in a query.
var queryBytes = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = byteKinds[c]&plainByte != 0 || c == '/' || c == '?'
	}
	return plain
}()

func ordinaryQuery(raw string) bool {
	for i := range len(raw) {
		if !queryBytes[raw[i]] {
			return false
		}
	}
	return true
}

func spellQuery(raw string) (string, bool) {
	out := make([]byte, 0, len(raw)+16)
	for i := 0; i < len(raw); i++ {
		c, escaped := raw[i], false
		if c == '%' {
			if !escapeAt(raw, i) {
				return "", false
			}
			c, escaped = unhex(raw[i+1])<<4|unhex(raw[i+2]), true
			i += 2
		}
		if byteKinds[c]&unreserved != 0 || queryBytes[c] && !escaped {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out), true
}

// fewNames is up to how many names are compared with each other one by one.
const fewNames = 16

// namesAgree reports whether all readers agree on the names of a spelled query.
func namesAgree(query string) bool {
	var few [fewNames]string
	var many map[string]string // by Fold
	for n, more := 0, true; more; n++ {
		var pair string
		pair, query, more = strings.Cut(query, "&")
		name, _, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(name, "%+") {
			decoded, err := url.QueryUnescape(name)
			if err != nil || !unambiguous([]byte(decoded)) {
				return false
			}
			name = decoded
		}
		if overridesMethod(name) {
			return false
		}
		switch {
		case n < fewNames:
			for _, other := range few[:n] {
				if other != name && sameFold(other, name) {
					return false
				}
			}
			few[n] = name
		default:
			if many == nil {
				many = make(map[string]string)
				for _, other := range few {
					many[Fold(other)] = other
				}
			}
			folded := Fold(name)
			if other, known := many[folded]; known && other != name {
				return false
			}
			many[folded] = name
		}
	}
	return true
}

func sameFold(a, b string) bool {
	if sameASCII(a, b) {
		return true
	}
	return !isASCII(a) && !isASCII(b) && Fold(a) == Fold(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// overridesMethod reports whether frameworks take the method from a parameter of
// this name.
func overridesMethod(name string) bool {
	if len(name) < len("_method") || len(name) > len("x_http_method_override") {
		return false
	}
	switch lower[name[0]] {
	case '_', '-', 'x', 'h':
	default:
		return false
	}
	switch strings.ToLower(strings.ReplaceAll(name, "-", "_")) {
	case "_method", "_http_method", "x_http_method", "http_method_override", "x_method_override", "x_http_method_override":
		return true
	}
	return false
}

// Fold returns text in the one letter case in which rules see paths and the names
// of parameters: in lower case, where letters that have the same capital become
// the same.
func Fold(text string) string {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= utf8.RuneSelf:
			return strings.Map(func(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }, text)
		case 'A' <= c && c <= 'Z':
			if isASCII(text[i:]) {
				return strings.ToLower(text)
			}
		}
	}
	return text
}

// FoldQuery returns a query that CleanQuery has returned with its names and values in
// the letter case of Fold, and every escape in the spelling of url.QueryEscape. Servers
// compare the names of parameters and the values of enumerations so.
func FoldQuery(query string) string {
	if query == "" {
		return ""
	}
	out := make([]byte, 0, len(query)+8)
	for pair := range strings.SplitSeq(query, "&") {
		name, value, assigned := strings.Cut(pair, "=")
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = append(out, url.QueryEscape(Fold(unescapeQuery(name)))...)
		if assigned {
			out = append(append(out, '='), url.QueryEscape(Fold(unescapeQuery(value)))...)
		}
	}
	return string(out)
}

func unescapeQuery(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}
