// This file holds the masking of JSON: a scanner in one pass and without
// recursion that copies what it leaves alone byte for byte.

package svclog

import "strings"

// MaskJSON appends a JSON document with the values of secret keys replaced by
// "****", whatever their type and depth. Key order, numbers, white space and
// duplicate keys stay as they are; valid JSON stays valid. Strings under other
// keys are masked as by MaskText, or as a whole where the secret is written
// with escapes. An object that names a secret and has its value beside it, as
// a JSON Patch does, loses the value: {"path":"/password","value":"****"}.
//
// A document that ends too early is printed up to its last complete token and
// "<incomplete>". One that is not JSON is not printed.
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

// jsonState is what may come next.
type jsonState uint8

const (
	wantValue jsonState = iota
	wantValueOrEnd
	wantKey
	wantKeyOrEnd
	wantColon
	wantComma
	wantNothing
)

// jsonScanner is the state of one pass. s[from:] is not yet copied; while hidden
// is not negative, the container at that depth is being left out.
type jsonScanner struct {
	s      string
	dst    []byte
	i      int
	from   int
	state  jsonState
	nest   bits
	hidden int
	secret bool
	pairs  pairs
	level  int // of the document: how many strings it stands in
}

func appendJSON(dst []byte, s string, level int) ([]byte, jsonEnd) {
	m := jsonScanner{s: s, dst: dst, hidden: -1, level: level}
	for {
		for m.i < len(s) && (s[m.i] == ' ' || s[m.i] == '\t' || s[m.i] == '\n' || s[m.i] == '\r') {
			m.i++
		}
		if m.i == len(s) {
			m.copyTo(len(s))
			if m.state == wantNothing {
				return m.dst, jsonComplete
			}
			return m.dst, jsonIncomplete
		}
		if end := m.step(); end != jsonComplete {
			m.copyTo(m.i)
			return m.dst, end
		}
	}
}

// copyTo copies what is shown and not yet copied, up to s[end].
func (m *jsonScanner) copyTo(end int) {
	if m.hidden < 0 && end > m.from {
		m.dst = append(m.dst, m.s[m.from:end]...)
	}
	m.from = end
}

// step takes one token. On failure m.i stays at its beginning.
func (m *jsonScanner) step() jsonEnd {
	c := m.s[m.i]
	switch m.state {
	case wantColon:
		if c != ':' {
			return jsonBroken
		}
		m.i++
		m.state = wantValue
		return jsonComplete
	case wantComma:
		switch {
		case c == ',' && m.nest.top():
			m.state = wantKey
		case c == ',':
			m.state = wantValue
		default:
			return m.closeContainer(c)
		}
		m.i++
		return jsonComplete
	case wantKey, wantKeyOrEnd:
		if c == '}' && m.state == wantKeyOrEnd {
			return m.closeContainer(c)
		}
		return m.key()
	case wantValue, wantValueOrEnd:
		if c == ']' && m.state == wantValueOrEnd {
			return m.closeContainer(c)
		}
		return m.value(c)
	}
	return jsonBroken
}

func (m *jsonScanner) closeContainer(c byte) jsonEnd {
	if m.nest.depth == 0 || c != '}' && c != ']' || (c == '}') != m.nest.top() {
		return jsonBroken
	}
	m.nest.pop()
	m.i++
	m.afterValue()
	return jsonComplete
}

// afterValue is called with m.i behind a value.
func (m *jsonScanner) afterValue() {
	if m.hidden == m.nest.depth {
		m.from = m.i
		m.hidden = -1
	}
	m.state = wantComma
	if m.nest.depth == 0 {
		m.state = wantNothing
	}
}

func (m *jsonScanner) key() jsonEnd {
	if m.s[m.i] != '"' {
		return jsonBroken
	}
	end, escaped, result := scanString(m.s, m.i)
	if result != jsonComplete {
		return result
	}
	if m.hidden < 0 {
		name := m.s[m.i+1 : end-1]
		if escaped {
			name = unescape(name)
		}
		if hidesAt(name, m.level) {
			m.copyTo(m.i)
			m.dst = appendMaskJSON(m.dst, m.s[m.i:end])
			m.from = end
			m.secret = true
		} else {
			m.secret = judgeDecoded(name) != readable || m.pairedWithSecret(name)
		}
	}
	m.i = end
	m.state = wantColon
	return jsonComplete
}

func (m *jsonScanner) value(c byte) jsonEnd {
	start, escaped := m.i, false
	var end int
	var result jsonEnd
	switch {
	case c == '{' || c == '[':
		if m.secret && m.hidden < 0 {
			m.copyTo(start)
			m.dst = appendMaskJSON(m.dst, m.s[start:containerEnd(m.s, start)])
			m.hidden = m.nest.depth
		}
		m.secret = false
		m.pairs.open(m.nest.depth, start)
		m.nest.push(c == '{')
		m.i++
		m.state = wantValueOrEnd
		if c == '{' {
			m.state = wantKeyOrEnd
		}
		return jsonComplete
	case c == '"':
		end, escaped, result = scanString(m.s, start)
	case c == '-' || '0' <= c && c <= '9':
		end, result = scanNumber(m.s, start)
	default:
		end, result = scanWord(m.s, start)
	}
	if result != jsonComplete {
		if m.secret && m.hidden < 0 && result == jsonIncomplete {
			m.copyTo(start)
			m.dst = appendMaskJSON(m.dst, m.s[start:])
		}
		return result
	}
	switch {
	case m.hidden >= 0:
	case m.secret:
		m.copyTo(start)
		m.dst = appendMaskJSON(m.dst, m.s[start:end])
		m.from = end
	case c == '"':
		m.text(start, end, escaped)
	}
	m.secret = false
	m.i = end
	m.afterValue()
	return jsonComplete
}

// text copies the string s[start:end] of a key that is not secret.
func (m *jsonScanner) text(start, end int, escaped bool) {
	inside := m.s[start+1 : end-1]
	if escaped {
		if hidesAt(unescape(inside), m.level) {
			m.copyTo(start)
			m.dst = appendMaskJSON(m.dst, m.s[start:end])
			m.from = end
		}
		return
	}
	if !hidesAt(inside, m.level) {
		return
	}
	m.copyTo(start + 1)
	m.dst = MaskText(m.dst, inside)
	m.from = end - 1
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
