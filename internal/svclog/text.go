// This file holds the masking of secrets in running text: URIs, credentials with
// a scheme, JWTs, PEM and XML keys, and assignments to a secret name.

package svclog

import "strings"

// MaskText appends s with the secrets masked that are recognized from text alone:
// otpauth:// URIs, PEM blocks and .NET XML keys, what follows Bearer and Basic, values
// in the form of a JWT or of a key of veeam-auth, the user part of a URL, and values after a secret name and "="
// or ":". If the secret is percent-encoded or escaped, all of s is masked.
func MaskText(dst []byte, s string) []byte {
	start := len(dst)
	dst, wrapped := maskText(dst, s)
	if wrapped && wrapsSecret(view(dst[start:]), 0) {
		return appendMask(dst[:start], s)
	}
	return dst
}

// holdsSecret reports whether maskText would change s.
func holdsSecret(s string) bool {
	for i := range len(s) {
		if telltale[s[i]] {
			if start, end := secretAt(s, i); !isMasked(s[start:end]) {
				return true
			}
		}
	}
	return false
}

// hides reports whether s holds a secret, openly, under its encodings, or as JSON.
func hides(s string) bool { return hidesAt(s, 0) }

// hidesAt is hides for a string of a document that stands in that many strings itself.
func hidesAt(s string, level int) bool {
	wrapped := false
	for i := range len(s) {
		switch {
		case !telltale[s[i]]:
		case s[i] == '%' || s[i] == '\\':
			wrapped = true
		default:
			if start, end := secretAt(s, i); !isMasked(s[start:end]) {
				return true
			}
		}
	}
	return wrapped && wrapsSecret(s, level) || nestsSecret(s, level)
}

// isMasked reports whether there is nothing in value that a mask could hide.
func isMasked(value string) bool { return value == "" || value == Mask }

// telltale marks the characters that stand in or right before every secret that
// secretAt can find, and those that begin an escape.
var telltale = byteSet(" \t+:=>-._%\\")

// maskText is MaskText without the look through encodings. It reports whether
// there are any to look through.
func maskText(dst []byte, s string) (masked []byte, wrapped bool) {
	from := 0
	for i := 0; i < len(s); i++ {
		if !telltale[s[i]] {
			continue
		}
		if s[i] == '%' || s[i] == '\\' {
			wrapped = true
			continue
		}
		start, end := secretAt(s, i)
		start = max(start, from)
		if end <= start || isMasked(s[start:end]) {
			continue
		}
		dst = append(dst, s[from:start]...)
		dst = appendMask(dst, s[start:end])
		from = end
		i = end - 1
	}
	return append(dst, s[from:]...), wrapped
}

// secretAt finds the secret that the telltale at s[i] gives away. What it looks
// back at may have been masked already: "password: Bearer x" has two secrets.
// Nothing found is an empty range.
func secretAt(s string, i int) (start, end int) {
	switch s[i] {
	case ' ', '\t', '+':
		return afterScheme(s, i)
	case '.':
		return aroundDot(s, i)
	case '_':
		return clientKey(s, i)
	case '-':
		if start, end = sessionID(s, i); start < end {
			return start, end
		}
		return keyFile(s, i)
	case '>':
		return xmlElement(s, i)
	case '%', '\\':
		return 0, 0
	case ':':
		if strings.HasPrefix(s[i+1:], "//") {
			return uri(s, i)
		}
		if start, end = userInfo(s, i); start < end {
			return start, end
		}
	}
	return assigned(s, i)
}

// afterScheme finds the x of "Bearer x" and "Basic x".
func afterScheme(s string, i int) (start, end int) {
	switch word := wordBefore(s, i); {
	case len(word) == 6 && strings.EqualFold(word, "bearer"):
	case len(word) == 5 && strings.EqualFold(word, "basic"):
	default:
		return 0, 0
	}
	start = i
	for start < len(s) && (s[start] == ' ' || s[start] == '\t' || s[start] == '+') {
		start++
	}
	end = start
	for end < len(s) && !endsCredential[s[end]] {
		end++
	}
	if proseAfterScheme(s[start:end]) {
		return 0, 0
	}
	// A parameter of a challenge, as in Bearer token="x", ends with its quotes.
	if end > start && end+1 < len(s) && s[end-1] == '=' && (s[end] == '"' || s[end] == '\'') && !endsCredential[s[end+1]] {
		end = closingQuote(s, end+1, s[end], 0)
	}
	return start, end
}

var endsCredential = byteSet(" \t\r\n\"'<>,;&()[]{}\\")

// proseAfterScheme reports whether a word after Bearer or Basic is the scheme's
// own vocabulary and no credential, as in "Get bearer JWT token", or says something of
// the grant jwt-bearer.
func proseAfterScheme(word string) bool {
	word = strings.TrimRight(word, ".:!?")
	for _, known := range [...]string{
		"token", "tokens", "jwt", "auth", "authentication", "authorization", "credentials", "scheme", "challenge",
		"failed", "requires", "does",
	} {
		if strings.EqualFold(word, known) {
			return true
		}
	}
	return len(word) >= 6 && strings.EqualFold(word[:6], "realm=")
}

// wordBefore returns the letters that end at s[i].
func wordBefore(s string, i int) string {
	start := i
	for start > 0 && 'a' <= s[start-1]|0x20 && s[start-1]|0x20 <= 'z' {
		start--
	}
	return s[start:i]
}

// aroundDot finds a JWT, whose first dot is at s[i]: the Base64 of a JSON object,
// a dot and more of the same.
func aroundDot(s string, i int) (start, end int) {
	start = i
	for start > 0 && base64URL[s[start-1]] {
		start--
	}
	for ; start+8 <= i; start++ {
		if opensObject(s[start], s[start+1], s[start+2]) {
			end = i + 1
			for end < len(s) && (base64URL[s[end]] || s[end] == '.') {
				end++
			}
			return start, end
		}
	}
	return 0, 0
}

// leastKey is how many digits a key has at least behind its prefix. Names have fewer.
const leastKey = 20

// clientKey finds a key of veeam-auth, vak_ and digits of base 62, whose underscore is at
// s[i]. Its case does not matter: somebody may have changed it.
func clientKey(s string, i int) (start, end int) {
	const prefix = "vak"
	start = i - len(prefix)
	if start < 0 || !strings.EqualFold(s[start:i], prefix) {
		return 0, 0
	}
	end = i + 1
	for end < len(s) && isAlphanumeric(s[end]) {
		end++
	}
	if end-i-1 < leastKey {
		return 0, 0
	}
	return start, end
}

// opensObject reports whether Base64 that starts with these characters decodes
// to "{" and a quotation mark or white space.
func opensObject(a, b, c byte) bool {
	if a != 'e' {
		return false
	}
	switch b {
	case 'y':
		return 'I' <= c && c <= 'L' || 'A' <= c && c <= 'D'
	case 'w':
		return 'k' <= c && c <= 'r' || '0' <= c && c <= '3'
	}
	return false
}

var base64URL = byteSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

// keyFile finds a PEM block or a PuTTY key that begins around s[i]. What has no
// end reaches to the end of the text.
func keyFile(s string, i int) (start, end int) {
	rest := s[i:]
	switch {
	case strings.HasPrefix(rest, "-----BEGIN "), strings.HasPrefix(rest, "---- BEGIN "):
		const mark = "-----"
		stop := strings.Index(rest, "END ")
		if stop < 0 {
			return i, len(s)
		}
		if tail := strings.Index(rest[stop:], mark[:4]); tail >= 0 {
			end = i + stop + tail
			for end < len(s) && s[end] == '-' {
				end++
			}
			return i, end
		}
		return i, len(s)
	case strings.HasPrefix(rest, "-User-Key-File") && strings.HasSuffix(s[:i], "PuTTY"):
		return i - len("PuTTY"), len(s)
	}
	return 0, 0
}

// xmlElement finds the content of an element with a secret name, or of a .NET
// RSA key, whose start tag ends at s[i].
func xmlElement(s string, i int) (start, end int) {
	tag := elementBefore(s[:i])
	closing := "</"
	switch {
	case tag == "":
		return 0, 0
	case tag == "RSAKeyValue":
		closing = "</RSAKeyValue"
	case judge(tag) == readable:
		return 0, 0
	}
	start = i + 1
	if stop := strings.Index(s[start:], closing); stop >= 0 {
		return start, start + stop
	}
	return start, len(s)
}

// elementBefore returns the local name of the element whose start tag s ends with,
// but for its ">".
func elementBefore(s string) string {
	const widestTag = 200
	tag := s[max(0, len(s)-widestTag):]
	open := strings.LastIndexByte(tag, '<')
	if open < 0 {
		return ""
	}
	tag = tag[open+1:]
	if tag == "" || tag[0] == '/' || tag[len(tag)-1] == '/' {
		return ""
	}
	if blank := strings.IndexAny(tag, " \t\r\n"); blank >= 0 {
		tag = tag[:blank]
	}
	if colon := strings.IndexByte(tag, ':'); colon >= 0 {
		tag = tag[colon+1:]
	}
	return tag
}

// NamesElement reports whether text ends with the start tag, without its ">", of an
// element that contains a secret.
func NamesElement(text string) bool {
	tag := elementBefore(text)
	return tag != "" && tag != "RSAKeyValue" && judge(tag) != readable // whose public half is no secret
}

// uri finds the secret of a URI whose colon is at s[i]: all of an otpauth URI,
// the user part of others.
func uri(s string, i int) (start, end int) {
	start = i + len("://")
	end = start
	scheme := wordBefore(s, i)
	if strings.EqualFold(scheme, "otpauth") || strings.EqualFold(scheme, "migration") {
		for end < len(s) && !endsURI[s[end]] {
			end++
		}
		return start, end
	}
	for end < len(s) && !endsURI[s[end]] && !endsAuthority[s[end]] {
		end++
	}
	if at := strings.LastIndexByte(s[start:end], '@'); at >= 0 {
		return start, start + at
	}
	return 0, 0
}

// userInfo finds the user part of a URL without a scheme, as a client sends it that takes
// the URL for a path: /user:password@host/ or //user:password@host/, also with the backslashes
// that browsers take for slashes. Its first colon is at s[i].
func userInfo(s string, i int) (start, end int) {
	start = i
	for start > 0 && s[start-1] != ':' && !endsURI[s[start-1]] && !endsAuthority[s[start-1]] {
		start--
	}
	if start == 0 || s[start-1] != '/' && s[start-1] != '\\' {
		return 0, 0
	}
	end = i
	for end < len(s) && !endsURI[s[end]] && !endsAuthority[s[end]] {
		end++
	}
	if at := strings.LastIndexByte(s[i:end], '@'); at > 0 {
		return start, i + at
	}
	return 0, 0
}

var endsAuthority = byteSet("/?#")

var endsURI = byteSet(" \t\r\n\"'<>\\`")

// byteSet is the set of the bytes of s.
func byteSet(s string) (set [256]bool) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}
