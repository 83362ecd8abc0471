// This file holds the masking of JSON: one pass without recursion that copies
// what it leaves alone byte for byte.

package svclog

import (
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
)

// MaskJSON appends a JSON document with the values of secret keys replaced by "****",
// regardless of their type and depth. Key order, numbers, white space and duplicate
// keys stay unchanged, and valid JSON stays valid. Strings under other keys are masked
// as by MaskText, or as a whole if the secret is written with escapes. In an object
// that has the name of a secret in one field and its value in another, as in JSON
// Patch, the value is masked: {"path":"/password","value":"****"}.
//
// A document that ends too early is written up to its last complete token, followed by
// "<incomplete>". Other content than JSON is not written.
func MaskJSON(dst, body []byte) []byte {
	start := len(dst)
	dst, end := appendJSON(dst, view(body), 0)
	switch end {
	case jsonBroken:
		return appendNotShown(dst[:start], view(body))
	case jsonIncomplete:
		return append(dst, incomplete...)
	}
	return dst
}

// jsonEnd says how a document ended.
type jsonEnd uint8

const (
	jsonComplete jsonEnd = iota
	jsonIncomplete
	jsonBroken
)

// jsonMasker is the state of one pass. s[from:] is not yet copied; while hidden
// is not negative, the container at that depth is being left out.
type jsonMasker struct {
	s      string
	dst    []byte
	scan   jsonscan.Scanner
	token  jsonscan.Event // the key, string, number or word that is open, or More
	start  int            // of that
	from   int
	hidden int
	secret bool
	pairs  pairs
	level  int // of the document: how many strings it stands in
}

func appendJSON(dst []byte, s string, level int) ([]byte, jsonEnd) {
	m := jsonMasker{s: s, dst: dst, hidden: -1, level: level}
	part := bytesOf(s)
	for i := 0; ; {
		event, next := m.scan.Next(part, i)
		switch event {
		case jsonscan.Object, jsonscan.Array:
			m.open(next - 1)
		case jsonscan.Close:
			m.afterValue(next)
		case jsonscan.Key, jsonscan.String, jsonscan.Number, jsonscan.Word:
			if m.token, m.start = event, m.scan.Start; m.scan.Whole {
				m.endToken(next)
			}
		case jsonscan.End:
			m.endToken(next)
		case jsonscan.More:
			end := m.end(next)
			return m.dst, end
		default:
			if m.token != jsonscan.More {
				next = m.start
			}
			m.copyTo(next)
			return m.dst, jsonBroken
		}
		i = next
	}
}

// end is called at the end of the document.
func (m *jsonMasker) end(at int) jsonEnd {
	if m.scan.EndNumber() {
		m.endToken(at)
	}
	switch {
	case m.token == jsonscan.More:
		m.copyTo(at)
	case m.secret && m.hidden < 0 && m.token != jsonscan.Key:
		m.replace(m.start, at)
	default:
		m.copyTo(m.start)
	}
	if m.scan.Complete() {
		return jsonComplete
	}
	return jsonIncomplete
}

// copyTo copies what is shown and not yet copied, up to s[end].
func (m *jsonMasker) copyTo(end int) {
	if m.hidden < 0 && end > m.from {
		m.dst = append(m.dst, m.s[m.from:end]...)
	}
	m.from = end
}

// replace writes the mask in place of s[start:end].
func (m *jsonMasker) replace(start, end int) {
	m.copyTo(start)
	m.dst = appendMaskJSON(m.dst, m.s[start:end])
	m.from = end
}

// open is called with the beginning of a container.
func (m *jsonMasker) open(start int) {
	depth := m.scan.Depth() - 1
	if m.secret && m.hidden < 0 {
		m.replace(start, containerEnd(m.s, start))
		m.hidden = depth
	}
	m.secret = false
	m.pairs.open(depth, start)
}

// afterValue is called with the end of a value.
func (m *jsonMasker) afterValue(end int) {
	if m.hidden == m.scan.Depth() {
		m.from = end
		m.hidden = -1
	}
}

// endToken is called with the end of the token that is open.
func (m *jsonMasker) endToken(end int) {
	token := m.token
	m.token = jsonscan.More
	switch {
	case m.hidden >= 0:
	case token == jsonscan.Key:
		m.key(m.start, end)
		return
	case m.secret:
		m.replace(m.start, end)
	case token == jsonscan.String:
		m.text(m.start, end)
	}
	m.secret = false
}

// key judges the key s[start:end].
func (m *jsonMasker) key(start, end int) {
	name := m.s[start+1 : end-1]
	if m.scan.Escaped {
		name = unescape(name)
	}
	if hidesAt(name, m.level) {
		m.replace(start, end)
		m.secret = true
	} else {
		m.secret = judgeDecoded(name) != readable || m.pairedWithSecret(name) ||
			strings.IndexByte(name, '-') >= 0 && judgeHeader(name) != readable // as Caddy logs headers; fields have no hyphens
	}
}

// text copies the string s[start:end] of a key that is not secret.
func (m *jsonMasker) text(start, end int) {
	inside := m.s[start+1 : end-1]
	switch {
	case m.scan.Escaped && hidesAt(unescape(inside), m.level):
		m.replace(start, end)
	case !m.scan.Escaped && hidesAt(inside, m.level):
		m.copyTo(start + 1)
		m.dst = MaskText(m.dst, inside)
		m.from = end - 1
	}
}

// containerEnd finds where the container at s[start] ends, for the control run.
func containerEnd(s string, start int) int {
	if masking {
		return start
	}
	depth := 0
	for i := start; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// unescape resolves the escapes of a JSON string; the string was scanned before.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if s[i+1] == 'u' {
			if r, width := escapeAt(s, i); width > 0 {
				b.WriteRune(r)
				i += width - 1
				continue
			}
		}
		i++
		if at := strings.IndexByte("bfnrt", s[i]); at >= 0 {
			b.WriteByte("\b\f\n\r\t"[at])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
