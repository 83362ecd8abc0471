// The normaliser of paths: one spelling for each path, and none for those that
// servers read in more than one way.

package operation

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Clean returns the normalized form of an escaped path. The decision must be based on
// it, and it must be sent to the server. raw is the path as received, without the
// query. If servers, or the proxies in front of them, interpret the path differently,
// Clean returns "" and false, and the request must be refused.
//
// The following is normalized, because all servers agree on its meaning:
//
//   - percent escapes of letters, digits and -._~ are decoded, once
//   - empty segments (//) are removed
//   - dot segments are resolved, also escaped ones: . .. %2e %2E%2e
//   - spaces and characters beyond ASCII are escaped, with upper-case digits
//
// The following remains as received:
//
//   - the case of letters, which Lookup ignores
//   - a trailing slash, which Lookup ignores
//   - the characters !$&'()*+,:=@ whether escaped or not
//
// The following is refused:
//
//   - a path that does not begin with a slash, or that leads above the root
//   - \ and ; and their escapes, and %2f: some servers end a segment there
//   - ? and # and their escapes
//   - a % that begins no escape, and escapes that decode to an escape: %252f
//   - control characters including NUL, plain or escaped, and invisible characters
//   - bytes that are not UTF-8 after decoding, including overlong forms
//   - characters beyond ASCII that case folding or compatibility normalization (NFKC)
//     turns into those of ASCII, such as the Kelvin sign, fullwidth forms and letters in a
//     circle
//   - segments that end in a dot, or begin or end in a space, which Windows removes
//   - an alternative spelling of an API version at the beginning of the path: v08, v8.01
//     and v8.0 for v8
func Clean(raw string) (path string, ok bool) {
	if ordinary(raw) {
		if secondVersion(raw) {
			return "", false
		}
		return raw, true
	}
	if raw == "" || raw[0] != '/' {
		return "", false
	}

	out := make([]byte, 0, len(raw)+16)
	var scratch [128]byte
	slash := false // the path ends in one
	for segment := range strings.SplitSeq(raw[1:], "/") {
		decoded, ok := unescape(scratch[:0], segment)
		if !ok || !unambiguous(decoded) {
			return "", false
		}
		slash = true
		switch string(decoded) {
		case "", ".":
		case "..":
			if len(out) == 0 {
				return "", false
			}
			out = out[:bytes.LastIndexByte(out, '/')]
		default:
			if decoded[len(decoded)-1] == '.' {
				return "", false
			}
			out = appendSegment(append(out, '/'), segment)
			slash = false
		}
	}
	if slash {
		out = append(out, '/')
	}
	if path = string(out); secondVersion(path) {
		return "", false
	}
	return path, true
}

// secondVersion reports whether a cleaned path begins with an API version, behind
// /api or not, in a spelling that servers take for that of another one.
func secondVersion(path string) bool {
	first, rest, _ := strings.Cut(path[1:], "/")
	if sameASCII(first, "api") {
		first, _, _ = strings.Cut(rest, "/")
	}
	if len(first) < 3 || lower[first[0]] != 'v' {
		return false
	}
	parts := 0
	last := ""
	for part := range strings.SplitSeq(first[1:], ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return false // no version of this form, which nobody takes for one
		}
		if len(part) > 1 && part[0] == '0' {
			return true
		}
		parts, last = parts+1, part
	}
	return parts > 1 && last == "0" || parts > 2
}

// Properties of bytes in a path.
const (
	plainByte  = 1 << iota // means itself in a path and has no other spelling in use
	unreserved             // means the same escaped and plain
	cutting                // ends a segment or the path for some readers
)

var byteKinds = func() (kinds [256]uint8) {
	for c := range kinds {
		switch b := byte(c); {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9',
			b == '-', b == '.', b == '_', b == '~':
			kinds[c] = plainByte | unreserved
		case strings.IndexByte("!$&'()*+,:=@", b) >= 0:
			kinds[c] = plainByte
		case strings.IndexByte(`/\;?#`, b) >= 0:
			kinds[c] = cutting
		}
	}
	return kinds
}()

// ordinary reports whether Clean has nothing to do.
func ordinary(raw string) bool {
	if raw == "" || raw[0] != '/' {
		return false
	}
	last := byte('/')
	for i := 1; i < len(raw); i++ {
		c := raw[i]
		if byteKinds[c]&plainByte == 0 && (c != '/' || last == '/' || last == '.') {
			return false
		}
		last = c
	}
	return last != '.'
}

// unescape appends the decoded segment to buf. It fails at whatever structures
// the path for some readers only.
func unescape(buf []byte, segment string) ([]byte, bool) {
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == '%' {
			if !escapeAt(segment, i) {
				return nil, false
			}
			c = unhex(segment[i+1])<<4 | unhex(segment[i+2])
			i += 2
		}
		if byteKinds[c]&cutting != 0 {
			return nil, false
		}
		buf = append(buf, c)
	}
	return buf, true
}

// Unambiguous reports whether all readers take a decoded segment of a path, or a name or a
// value of a query, for the same.
func Unambiguous(decoded string) bool { return unambiguous([]byte(decoded)) }

func unambiguous(decoded []byte) bool {
	if len(decoded) == 0 {
		return true
	}
	for i := 0; i < len(decoded); {
		r, size := utf8.DecodeRune(decoded[i:])
		switch {
		case r == utf8.RuneError && size == 1, unicode.IsControl(r), unicode.Is(unicode.Cf, r), likeASCII(r):
			return false
		case r == '%' && escapeAt(string(decoded[i:min(i+3, len(decoded))]), 0):
			return false
		case unicode.IsSpace(r) && (i == 0 || i+size == len(decoded)):
			return false
		}
		i += size
	}
	return true
}

// likeASCII reports whether a character beyond ASCII becomes one of ASCII, or several, where
// case is folded or compatible forms are taken. A letter with an accent does not, nor does
// the sharp s, which is another letter in all forms but the full case folding.
func likeASCII(r rune) bool {
	if r < utf8.RuneSelf {
		return false
	}
	for folded := unicode.SimpleFold(r); folded != r; folded = unicode.SimpleFold(folded) {
		if folded < utf8.RuneSelf {
			return true
		}
	}
	if unicode.ToLower(r) < utf8.RuneSelf || unicode.ToUpper(r) < utf8.RuneSelf {
		return true // the Turkish letters I
	}
	var room [4 * utf8.UTFMax]byte
	for _, c := range norm.NFKC.AppendString(room[:0], string(r)) {
		if c > ' ' && c < utf8.RuneSelf { // accents of their own become a space and an accent
			return true
		}
	}
	switch r {
	case 0x2044, 0x2215, 0x29f8, // slashes
		0x2216, 0x29f5, 0x29f9: // backslashes
		return true
	}
	return false
}

const upperHex = "0123456789ABCDEF"

// appendSegment spells a segment that unescape accepts.
func appendSegment(out []byte, segment string) []byte {
	for i := 0; i < len(segment); i++ {
		c, escaped := segment[i], false
		if c == '%' {
			c, escaped = unhex(segment[i+1])<<4|unhex(segment[i+2]), true
			i += 2
		}
		kind := byteKinds[c]
		if kind&unreserved != 0 || kind&plainByte != 0 && !escaped {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return out
}

func escapeAt(s string, i int) bool {
	return i+2 < len(s) && s[i] == '%' && isHex(s[i+1]) && isHex(s[i+2])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
