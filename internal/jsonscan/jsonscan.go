// Package jsonscan reads the structure of JSON that comes in parts.
//
// A Scanner is handed one part after the other, which may be cut anywhere, and says where
// keys, values and containers begin and end. It keeps no bytes of the document, only one
// bit for each open container and an escape that is not complete. It does not recurse and
// does not copy. What to do about a key or a value is up to the caller: the filter of
// answers, the search for tokens in them and the masking of the log are such policies.
//
// It takes what encoding/json takes, duplicate keys and bytes that are not UTF-8 included,
// any depth, and, if asked for, a byte order mark. What no such document has is an error:
// NaN, comments, a comma at the end, anything behind the document.
package jsonscan

// Event is what Next has come to.
type Event uint8

const (
	// More says that the part is used up.
	More Event = iota
	// Object says that an object begins, with the byte before the index.
	Object
	// Array says that an array begins, with the byte before the index.
	Array
	// Close says that the innermost container ends, with the byte before the index.
	Close
	// Key says that a key begins, with the quotation mark before the index.
	Key
	// String says that a string begins that is a value, with the quotation mark before the
	// index.
	String
	// Number says that a number begins at Start. It ends before the index if it is Whole.
	// Otherwise an End follows.
	Number
	// Word says the same of true, false or null.
	Word
	// End says that the key, string, number or word ends before the index, a string with
	// its quotation mark. At the end of the document a number has no End, see EndNumber.
	End
	// Escape says that an escape in a string ends before the index. Only Inside gives it.
	Escape
	// Broken says that the byte at the index cannot stand there. The scanner can go no
	// further.
	Broken
	// TooDeep says that the byte at the index opens one container more than MaxDepth.
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

// Scanner is the state between two parts of a document. The zero value is ready for one
// without a byte order mark and of any depth.
type Scanner struct {
	// MaxDepth is how deep containers may be nested; 0 is no limit.
	MaxDepth int
	// Mark says that the document may begin with a byte order mark in UTF-8.
	Mark bool
	// Escaped says that the string has escapes, or the last one if none is open.
	Escaped bool
	// Start is where in the part the last number or word began, when Next has come to it.
	Start int
	// Whole says that it ends in that part, too.
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

// Reset prepares for another document, with the same MaxDepth and Mark.
func (s *Scanner) Reset() {
	s.state, s.depth, s.object, s.Escaped = atStart, 0, false, false
}

// Depth is how many containers are open.
func (s *Scanner) Depth() int { return s.depth }

// InKey reports whether the string that is open, or the last one if none is, is a key.
func (s *Scanner) InKey() bool { return s.key }

// InEscape reports whether an escape in a string has begun and not ended.
func (s *Scanner) InEscape() bool { return s.state == inEscape }

// WantsValue reports whether a value comes next, and nothing else may.
func (s *Scanner) WantsValue() bool { return s.state == wantValue }

// EndNumber is called at the end of the document, which no byte tells. It ends the number
// that is open, if there is one that may end, and reports whether there was.
func (s *Scanner) EndNumber() bool {
	if s.state != inNumber || !s.number.complete() {
		return false
	}
	s.afterValue()
	return true
}

// Complete reports whether there was a whole document. See EndNumber.
func (s *Scanner) Complete() bool { return s.state == wantNothing }

// Empty reports whether there was nothing but white space and a byte order mark.
func (s *Scanner) Empty() bool {
	return s.state == atStart || s.state == wantValue && s.depth == 0
}

// Next goes on at part[i] and returns what it has come to, and the index to go on at.
// In a string it goes to its end.
func (s *Scanner) Next(part []byte, i int) (Event, int) {
	for s.state >= inString && i < len(part) {
		if s.state == inString {
			if i = plain(part, i); i == len(part) {
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
		case wantComma:
			switch {
			case c != ',':
				return s.close(c, i)
			case s.object:
				s.state = wantKey
			default:
				s.state = wantValue
			}
		case wantKey, wantKeyOrEnd:
			if c == '"' {
				return s.open(true, i)
			}
			if s.state == wantKey {
				return Broken, i
			}
			return s.close(c, i)
		case wantValue:
			if c == '"' {
				return s.open(false, i)
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

// open begins the string whose quotation mark is at i.
func (s *Scanner) open(key bool, i int) (Event, int) {
	s.state, s.key, s.Escaped = inString, key, false
	if key {
		return Key, i + 1
	}
	return String, i + 1
}

// value begins the value whose first byte c is at i.
func (s *Scanner) value(c byte, part []byte, i int) (Event, int) {
	switch c {
	case '"':
		return s.open(false, i)
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

// Inside goes on at part[i] in a string, a number or a word. In a string, part[i] does not
// stand for itself (see Stops), or goes on with an escape: a caller that looks at strings
// goes over the bytes between on its own, and has Inside take the others. It comes to End,
// Escape, Broken, or More.
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

// EndString ends the string that is open: a caller that goes over it on its own has come to
// the quotation mark that Inside would end it with.
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
