// Package jsonscan reads the structure of JSON that arrives in parts.
//
// A Scanner gets one part after the other, which may be cut anywhere, and reports where
// keys, values and containers begin and end. It keeps no bytes of the document, only
// one bit for each open container and an incomplete escape. It does not recurse and
// does not copy. The caller decides what to do with a key or a value: the filter of
// responses, the search for tokens in them, the masking of the log and the answers to logins
// are such callers.
//
// It accepts the same documents as encoding/json, including duplicate keys and bytes
// that are not UTF-8, at any depth, and optionally a byte order mark. It rejects
// everything else: NaN, comments, trailing commas and data after the document.
package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// Event is a position in the document at which Next and Inside return.
type Event uint8

const (
	// More means that the end of the part was reached.
	More Event = iota
	// Object is the beginning of an object, whose brace precedes the index.
	Object
	// Array is the beginning of an array, whose bracket precedes the index.
	Array
	// Close is the end of the innermost container, whose brace or bracket precedes the
	// index.
	Close
	// Key is the beginning of a key, whose quotation mark is at Scanner.Start. If
	// Scanner.Whole is true, the key ends before the index and contains no escape;
	// otherwise the index is behind the quotation mark, and an End follows.
	Key
	// String is the beginning of a string value, as Key.
	String
	// Number is the beginning of a number, at Scanner.Start. If Scanner.Whole is true,
	// the number ends before the index; otherwise an End follows.
	Number
	// Word is the beginning of true, false or null, at Scanner.Start. If Scanner.Whole
	// is true, the word ends before the index; otherwise an End follows.
	Word
	// End is the end of a key, string, number or word before the index, including the
	// quotation mark of a string. A number at the end of the document has no End; see
	// Scanner.EndNumber.
	End
	// Escape is the end of an escape in a string, before the index. Only Inside returns
	// it.
	Escape
	// Broken means that the byte at the index is not allowed there. Scanning cannot
	// continue.
	Broken
	// TooDeep means that the byte at the index opens a container deeper than
	// Scanner.MaxDepth. Scanning cannot continue.
	TooDeep
)

// state is what the scanner is in, or what may come next.
type state uint8

const (
	atStart state = iota // before the first byte
	inMark               // in the byte order mark
	wantValue
	wantValueOrEnd
	wantKey
	wantKeyOrEnd
	wantColon
	wantComma
	wantNothing

	inString
	inEscape
	inNumber
	inWord
)

// Scanner scans a document. The zero value is ready for a document of any depth without
// a byte order mark.
type Scanner struct {
	// MaxDepth is the maximum depth of nested containers; 0 means no limit.
	MaxDepth int
	// Mark allows a UTF-8 byte order mark at the beginning of the document.
	Mark bool
	// Escaped reports whether the open string, or the last one if none is open,
	// contains an escape.
	Escaped bool
	// Start is the index in the part at which the last key, string, number or word began.
	// Valid after the event of its beginning.
	Start int
	// Whole reports whether it ended in the same part, and then no End follows.
	Whole bool

	state   state
	key     bool // the string is a key
	object  bool // the innermost container is an object
	number  numberState
	rest    string // of the word or of the byte order mark
	depth   int
	objects Bits // the container at a depth is an object
	escape  escape
}

// Reset prepares the scanner for another document, with the same MaxDepth and Mark.
func (s *Scanner) Reset() {
	s.state, s.depth, s.object, s.Escaped = atStart, 0, false, false
}

// Depth returns the number of open containers.
func (s *Scanner) Depth() int { return s.depth }

// InKey reports whether the open string, or the last one if none is open, is a key.
func (s *Scanner) InKey() bool { return s.key }

// InEscape reports whether the scanner is within an escape of a string.
func (s *Scanner) InEscape() bool { return s.state == inEscape }

// WantsValue reports whether only a value may come next.
func (s *Scanner) WantsValue() bool { return s.state == wantValue }

// Reopen goes back behind the opening quotation mark of the last key or string, for a
// caller that has to look at it more closely. It returns the index to continue at. Since
// the beginning of the string there must have been no event but its End, More or Broken,
// in the same part.
func (s *Scanner) Reopen() int {
	s.state, s.Whole, s.Escaped = inString, false, false
	return s.Start + 1
}

// EndNumber must be called at the end of the document, which no byte marks. It ends the
// open number and reports whether there was one that may end there.
func (s *Scanner) EndNumber() bool {
	if s.state != inNumber || !s.number.complete() {
		return false
	}
	s.afterValue()
	return true
}

// Complete reports whether the document was complete. Call EndNumber first.
func (s *Scanner) Complete() bool { return s.state == wantNothing }

// Empty reports whether the document contained only white space and a byte order mark.
func (s *Scanner) Empty() bool {
	return s.state == atStart || s.state == wantValue && s.depth == 0
}

// Next scans from part[i] to the next event, and returns the event and the index at
// which to continue. In a string it scans to the end of the string.
func (s *Scanner) Next(part []byte, i int) (Event, int) {
	for s.state >= inString && i < len(part) {
		if s.state == inString {
			if i = Plain(part, i); i == len(part) {
				return More, i
			}
		}
		event, next := s.Inside(part, i)
		if event != Escape {
			return event, next
		}
		i = next
	}
	for ; i < len(part); i++ {
		c := part[i]
		if c <= ' ' && blank[c] {
			if s.state == inMark {
				return Broken, i
			}
			if s.state == atStart {
				s.state = wantValue
			}
			continue
		}
		switch s.state {
		case wantColon:
			if c != ':' {
				return Broken, i
			}
			s.state = wantValue
			if i+1 < len(part) && part[i+1] == '"' { // as a rule
				return s.open(false, part, i+1)
			}
		case wantComma:
			switch {
			case c != ',':
				return s.close(c, i)
			case !s.object:
				s.state = wantValue
			default:
				s.state = wantKey
				if i+1 < len(part) && part[i+1] == '"' { // as a rule
					return s.open(true, part, i+1)
				}
			}
		case wantKey, wantKeyOrEnd:
			if c == '"' {
				return s.open(true, part, i)
			}
			if s.state == wantKey {
				return Broken, i
			}
			return s.close(c, i)
		case wantValue:
			if c == '"' {
				return s.open(false, part, i)
			}
			return s.value(c, part, i)
		case wantValueOrEnd:
			if c == ']' {
				return s.close(c, i)
			}
			return s.value(c, part, i)
		case atStart, inMark:
			if next, ok := s.mark(c); !ok {
				return Broken, i
			} else if !next {
				i--
			}
		default:
			return Broken, i
		}
	}
	return More, i
}

// blank is white space between tokens.
var blank = [256]bool{' ': true, '\t': true, '\r': true, '\n': true}

const mark = "\xef\xbb\xbf"

// mark takes a byte where the byte order mark may be. taken says that it is of the mark.
func (s *Scanner) mark(c byte) (taken, ok bool) {
	switch {
	case s.state == atStart && (!s.Mark || c != mark[0]):
		s.state = wantValue
		return false, true
	case s.state == atStart:
		s.state, s.rest = inMark, mark
	case c != s.rest[0]:
		return false, false
	}
	if s.rest = s.rest[1:]; s.rest == "" {
		s.state = wantValue
	}
	return true, true
}

// open begins the string whose quotation mark is at i, and ends it if that is simple.
func (s *Scanner) open(key bool, part []byte, i int) (Event, int) {
	event := String
	if key {
		event = Key
	}
	s.key, s.Escaped, s.Start = key, false, i
	end := i + 1
	if end+8 > len(part) {
		end = Plain(part, end)
	} else if found := stopsIn(binary.LittleEndian.Uint64(part[end:])); found != 0 {
		end += bits.TrailingZeros64(found) / 8
	} else {
		end = Plain(part, end+8)
	}
	if s.Whole = end < len(part) && part[end] == '"'; !s.Whole {
		s.state = inString
		return event, i + 1
	}
	s.EndString()
	return event, end + 1
}

// value begins the value whose first byte c is at i.
func (s *Scanner) value(c byte, part []byte, i int) (Event, int) {
	switch c {
	case '"':
		return s.open(false, part, i)
	case '{', '[':
		if s.MaxDepth > 0 && s.depth == s.MaxDepth {
			return TooDeep, i
		}
		s.object = c == '{'
		s.objects.Set(s.depth, s.object)
		s.depth++
		if s.state = wantValueOrEnd; s.object {
			s.state = wantKeyOrEnd
			return Object, i + 1
		}
		return Array, i + 1
	case 't':
		return s.word("true", part, i)
	case 'f':
		return s.word("false", part, i)
	case 'n':
		return s.word("null", part, i)
	}
	if s.number = beginNumber(c); s.number == outside {
		return Broken, i
	}
	s.state, s.Start = inNumber, i
	event, end := s.inNumber(part, i+1)
	s.Whole = event == End
	return Number, end
}

// word begins a word, whose first byte is at i.
func (s *Scanner) word(word string, part []byte, i int) (Event, int) {
	s.state, s.rest, s.Start = inWord, word[1:], i
	if end := i + len(word); end <= len(part) && string(part[i:end]) == word {
		s.Whole = true
		s.afterValue()
		return Word, end
	}
	s.Whole = false
	return Word, i + 1
}

// close ends the innermost container with the byte c at i.
func (s *Scanner) close(c byte, i int) (Event, int) {
	if s.object && c != '}' || !s.object && c != ']' {
		return Broken, i
	}
	s.depth--
	s.object = s.depth > 0 && s.objects.Get(s.depth-1)
	s.afterValue()
	return Close, i + 1
}

func (s *Scanner) afterValue() {
	if s.state = wantComma; s.depth == 0 {
		s.state = wantNothing
	}
}

// Inside scans from part[i] within a string, a number or a word. In a string, part[i]
// must be one of the bytes in Stops or continue an escape: a caller that reads strings
// handles the bytes between them itself. The event is End, Escape, Broken or More.
func (s *Scanner) Inside(part []byte, i int) (Event, int) {
	switch s.state {
	case inString:
		if part[i] == '"' {
			s.EndString()
			return End, i + 1
		}
		if part[i] != '\\' {
			return Broken, i
		}
		s.state, s.Escaped = inEscape, true
		s.escape.begin()
		i++
		fallthrough
	case inEscape:
		return s.inEscape(part, i)
	case inNumber:
		return s.inNumber(part, i)
	}
	for ; s.rest != ""; i++ {
		if i == len(part) {
			return More, i
		}
		if part[i] != s.rest[0] {
			return Broken, i
		}
		s.rest = s.rest[1:]
	}
	s.afterValue()
	return End, i
}

// EndString ends the open string. A caller that reads strings itself calls it at the
// closing quotation mark instead of Inside.
func (s *Scanner) EndString() {
	if s.state = wantColon; !s.key {
		s.afterValue()
	}
}

// inNumber goes to the end of the number.
func (s *Scanner) inNumber(part []byte, i int) (Event, int) {
	at := s.number
	for ; i < len(part); i++ {
		c := part[i]
		if c-'0' <= 9 && at.inDigits() {
			continue
		}
		to := behind[at][c]
		if to == outside {
			s.number = at
			if !at.complete() {
				return Broken, i
			}
			s.afterValue()
			return End, i
		}
		at = to
	}
	s.number = at
	return More, i
}
