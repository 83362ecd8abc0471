// The normaliser of queries: one spelling for each, and none for those that
// servers read in more than one way.

package operation

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CleanQuery returns the normalized form of a query. The decision must be based on it,
// and it must be sent to the server. raw is the query as received, without the question
// mark. ok is false if servers interpret the query differently, or if a part of it
// would make some servers use another method; the request must be refused then.
//
// The following is normalized, because all servers agree on its meaning:
//
//   - percent escapes of letters, digits and -._~ are decoded, once
//   - characters that are not allowed in a query are escaped, with upper-case digits;
//     also ; which separates parameters for some servers if it is not escaped
//
// The case of letters, the order and empty parameters remain as received.
//
// The following is refused:
//
//   - a % that begins no escape
//   - two names that differ in case only: servers merge them, or take one
//   - in a name, whatever Clean refuses in a segment of a path, except characters that
//     only structure a path
//   - names by which frameworks let a client override the method, such as _method
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
			if err != nil || !Unambiguous(decoded) {
				return false
			}
			name = decoded
		}
		if method, _ := Overrides(name); method {
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

// Fold returns text in the letter case in which rules see paths and the names of
// parameters: lower case, with letters that have the same upper case made equal.
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

// FoldQuery returns a result of CleanQuery with names and values folded as by Fold and
// escapes written as by url.QueryEscape, because servers ignore case in the names of
// parameters and in the values of enumerations.
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
