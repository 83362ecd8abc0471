// Strings: the bytes that stand for themselves, and escapes.

package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// Stops marks the bytes that have a meaning of their own in a string: the closing
// quotation mark, the backslash, and control characters, which are not allowed.
var Stops = func() (set [256]bool) {
	for c := range byte(' ') {
		set[c] = true
	}
	set['"'], set['\\'] = true, true
	return set
}()

// Plain returns the index of the first byte from part[i] on that is in Stops, or the
// length of part. It looks at eight bytes at once.
func Plain(part []byte, i int) int {
	for ; i+8 <= len(part); i += 8 {
		if found := stopsIn(binary.LittleEndian.Uint64(part[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(part) && !Stops[part[i]] {
		i++
	}
	return i
}

// stopsIn returns the highest bits of those of eight bytes that are in Stops. Of the bits
// that are set, only the lowest is certain.
func stopsIn(eight uint64) uint64 {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	quote, backslash := eight^'"'*ones, eight^'\\'*ones
	return ((eight-' '*ones)&^eight | (quote-ones)&^quote | (backslash-ones)&^backslash) & high
}

// StringEnd returns the index behind the closing quotation mark of the string whose
// content begins at part[i], and whether the string contains escapes. The event is End,
// More if part ends before the string, or Broken.
func StringEnd(part []byte, i int) (event Event, end int, escaped bool) {
	s := Scanner{state: inString}
	event, end = s.Next(part, i)
	return event, end, s.Escaped
}

// escape is an escape as it was written so far.
type escape struct {
	raw  [6]byte
	size int
}

func (e *escape) begin() { e.raw[0], e.size = '\\', 1 }

// inEscape goes to the end of the escape.
func (s *Scanner) inEscape(part []byte, i int) (Event, int) {
	e := &s.escape
	for ; i < len(part); i++ {
		c := part[i]
		if e.size == 1 && escapes[c] == 0 || e.size > 1 && hexDigit(c) < 0 {
			return Broken, i
		}
		e.raw[e.size] = c
		e.size++
		if e.raw[1] != 'u' || e.size == len(e.raw) {
			s.state = inString
			return Escape, i + 1
		}
	}
	return More, i
}

// Escape returns the last escape as written, and the character that it represents,
// which may be half of a surrogate pair. raw is valid until the next escape.
func (s *Scanner) Escape() (raw []byte, r rune) {
	raw = s.escape.raw[:s.escape.size]
	if raw[1] != 'u' {
		return raw, rune(escapes[raw[1]])
	}
	for _, digit := range raw[2:] {
		r = r<<4 | hexDigit(digit)
	}
	return raw, r
}

// ASCIIEscape returns the character of the valid escape with which raw begins, and the
// size of the escape. The size is 0 if the character is not in ASCII.
func ASCIIEscape(raw []byte) (c byte, size int) {
	if raw[1] != 'u' {
		return escapes[raw[1]], 2
	}
	if raw[2] != '0' || raw[3] != '0' || raw[4] > '7' {
		return 0, 0
	}
	return byte(hexDigit(raw[4])<<4 | hexDigit(raw[5])), 6
}

// escapes is what stands behind a backslash and what it means.
var escapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'u': 'u',
}

func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}
