// This file holds what takes the layers of encoding off a text, so that a name
// or a secret is recognised however often it was wrapped.

package svclog

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// maxLayers is how many encodings around a text are looked through. What is
// wrapped deeper is masked without a look.
const maxLayers = 5

// peel removes one layer of percent-encoding (%70, and %u0070 as IIS takes it)
// and of JSON's \u0070 from s. Broken escapes stay as they are. The second
// result tells whether there was anything to remove; without it s itself comes
// back and nothing is allocated.
func peel(s string) (string, bool) {
	first := strings.IndexByte(s, '%')
	if other := strings.IndexByte(s, '\\'); first < 0 || 0 <= other && other < first {
		first = other
	}
	if first < 0 {
		return s, false
	}
	var out []byte
	from := 0
	for i := first; i < len(s); {
		if s[i] != '%' && s[i] != '\\' {
			i++
			continue
		}
		r, width := escapeAt(s, i)
		if width == 0 {
			i++
			continue
		}
		out = append(out, s[from:i]...)
		if s[i] == '%' && width == 3 {
			out = append(out, byte(r))
		} else {
			out = utf8.AppendRune(out, r)
		}
		i += width
		from = i
	}
	if from == 0 {
		return s, false
	}
	return string(append(out, s[from:]...)), true
}

// escapeAt reads the escape that starts at s[i]. Its width is 0 when there is
// none. A surrogate pair is read as one escape.
func escapeAt(s string, i int) (r rune, width int) {
	switch {
	case s[i] == '%' && i+2 < len(s) && s[i+1]|0x20 != 'u':
		if v, ok := hexValue(s[i+1 : i+3]); ok {
			return v, 3
		}
	case (s[i] == '%' || s[i] == '\\') && i+5 < len(s) && s[i+1]|0x20 == 'u':
		v, ok := hexValue(s[i+2 : i+6])
		if !ok {
			return 0, 0
		}
		if utf16.IsSurrogate(v) && i+11 < len(s) && s[i+6] == s[i] && s[i+7]|0x20 == 'u' {
			if low, ok := hexValue(s[i+8 : i+12]); ok {
				if pair := utf16.DecodeRune(v, low); pair != utf8.RuneError {
					return pair, 12
				}
			}
		}
		return v, 6
	}
	return 0, 0
}

// hexValue reads all of s as a hexadecimal number.
func hexValue(s string) (v rune, ok bool) {
	for i := range len(s) {
		v <<= 4
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			v |= rune(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v |= rune(c|0x20-'a') + 10
		default:
			return 0, false
		}
	}
	return v, true
}

// wrapsSecret reports whether a text shows up under the encodings of s that
// holds a secret, or whether s is wrapped too often to tell.
func wrapsSecret(s string, level int) bool {
	for n := 0; ; n++ {
		inner, changed := peel(s)
		if !changed {
			return false
		}
		if n == maxLayers || holdsSecret(inner) || nestsSecret(inner, level) {
			return true
		}
		s = inner
	}
}

// view looks at b as a string without a copy. The string must not outlive the
// call that b was handed to.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // the bytes do not change while they are looked at
}

// bytesOf looks at s as bytes without a copy. They must not be changed.
func bytesOf(s string) []byte {
	return unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // nobody writes to them
}
