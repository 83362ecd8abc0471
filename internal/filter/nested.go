// Strings that are JSON themselves, as a service writes them that logs or keeps the
// message of another: {"body":"{\"password\":\"x\"}"}.

package filter

import (
	"bytes"
	"errors"
	"fmt"
)

// Limits for JSON in strings.
const (
	// MaxNested is how many bytes of such a string are held back, as it was written. A
	// longer one is masked if it is JSON so far.
	MaxNested = 64 << 10

	// mostNested is how many strings may be nested in each other.
	mostNested = 5
)

// opensNested marks what a string with JSON can begin with: with the document, or with
// blanks, an escape or a byte order mark before it. One that is empty is looked at, too.
var opensNested = byteSet("{[\" \t\r\n\\\xef")

// nested is the document in the string that the scanner is in.
type nested struct {
	fresh bool // the string has no characters so far
	on    bool // the string is JSON, so far
	start int  // of the string in scanner.out
	raw   []byte
	text  []byte // without its escapes
	inner *scanner
}

// openNested begins to hold the string back from part[i] on, its first character.
func (s *scanner) openNested(i int) {
	n := &s.text.nested
	s.settle(i)
	n.start = len(s.out)
	if s.level == mostNested {
		s.hideNested(i)
		return
	}
	if n.inner == nil {
		n.inner = newScanner(s.level + 1)
	}
	n.inner.restart()
	n.inner.closely = s.closely
	n.on, n.raw, n.text = true, n.raw[:0], n.text[:0]
}

// restart prepares for another document.
func (s *scanner) restart() {
	s.out, s.part, s.held = s.out[:0], nil, s.held[:0]
	s.from, s.base, s.hidden = 0, 0, 0
	s.mute, s.secret, s.waits, s.traits, s.inside = false, false, false, 0, inNothing
	s.closely = false
	s.json.Reset()
	s.text.held, s.text.nested.on = s.text.held[:0], false
}

// feedNested takes a part of the string that ends before part[end].
func (s *scanner) feedNested(raw, decoded []byte, end int) {
	n := &s.text.nested
	n.raw, n.text = append(n.raw, raw...), append(n.text, decoded...)
	err := n.inner.feed(decoded)
	switch {
	case err != nil && !n.hides() && !errors.Is(err, ErrDepth):
		n.on = false
	case err != nil, len(n.raw) > MaxNested:
		s.hideNested(end)
	}
}

// hides reports whether there was a secret in what the inner scanner has seen, or may
// be one.
func (n *nested) hides() bool {
	return n.inner.mute || len(n.inner.held) > 0 || !bytes.HasPrefix(n.text, n.inner.out)
}

// hideNested leaves out all of the string. It goes on at part[i].
func (s *scanner) hideNested(i int) {
	t := &s.text
	s.settle(i)
	s.out = append(s.out[:t.nested.start], Mask...)
	s.mute, t.masked, t.mode, t.held, t.nested.on = true, true, hidingRest, t.held[:0], false
}

// closeNested ends the string before part[i]. A document keeps its form; of one that
// is cut off and has a secret in it, nothing stays.
func (s *scanner) closeNested(i int) {
	n := &s.text.nested
	n.on = false
	s.settle(i)
	switch complete := n.inner.finish() == nil; {
	case complete && bytes.Equal(n.text, n.inner.out):
		s.out = append(s.out[:n.start], n.raw...)
	case complete:
		s.out = appendEscaped(s.out[:n.start], n.inner.out)
	case n.hides():
		s.out = append(s.out[:n.start], Mask...)
	}
}

// appendEscaped appends what a JSON string holds.
func appendEscaped(dst, text []byte) []byte {
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
