// The scanner: what may come next in a JSON document, and what of it is passed.

package filter

import (
	"fmt"
	"io"
)

// place is what the scanner is in, or what may come next.
type place uint8

const (
	atStart place = iota // before the document, where a byte order mark may be
	inMark
	wantValue
	wantValueOrEnd
	wantKey
	wantKeyOrEnd
	wantColon
	wantComma
	wantNothing

	inText   // a string that is looked at
	inSecret // right behind the quotation mark that opens a secret string
	inHidden // a string that is left out
	inEscape // a string's escape
	inNumber
	inWord // true, false or null
)

// scanner takes a document in parts. It appends to out what is passed.
type scanner struct {
	out  []byte
	part []byte
	from int   // part[from:] has been neither passed nor left out yet
	mute bool  // what comes is left out
	base int64 // bytes of the document before part

	place  place
	nest   nest
	hidden int    // the depth of the container that is left out, or 0
	traits traits // of the last key
	secret bool   // the value to come is a secret
	waits  bool   // the value to come may turn out to be one
	held   []held
	level  int // how many strings the document stands in

	mark   int    // bytes of the byte order mark that were seen
	word   string // what has to follow of true, false or null
	number numberPlace
	text   text
	names  judged // of fields
	values judged // of naming fields
}

// feed takes the next part of the document.
func (s *scanner) feed(part []byte) error {
	s.part, s.from = part, 0
	i, err := s.scan()
	s.settle(i)
	if err != nil {
		return fmt.Errorf("%w at byte %d", err, s.base+int64(i))
	}
	s.base += int64(len(part))
	return nil
}

// settle passes or leaves out what lies before part[i].
func (s *scanner) settle(i int) {
	if !s.mute {
		s.out = append(s.out, s.part[s.from:i]...)
	}
	s.from = i
}

// muteAt leaves out what comes from part[i] on, and has instead in its place.
func (s *scanner) muteAt(i int, instead string) {
	s.settle(i)
	s.out = append(s.out, instead...)
	s.mute = true
}

// unmuteAt passes what comes from part[i] on.
func (s *scanner) unmuteAt(i int) {
	s.settle(i)
	s.mute = false
}

// finish is called at the end of the document.
func (s *scanner) finish() error {
	switch {
	case s.place == wantNothing, s.place == atStart:
		return nil
	case s.place == wantValue && s.nest.depth == 0:
		return nil // a byte order mark and nothing else
	case s.place == inNumber && s.nest.depth == 0 && s.number.complete():
		return nil
	}
	return fmt.Errorf("the answer is cut off: %w", io.ErrUnexpectedEOF)
}

// scan goes through part. i is where it has stopped.
func (s *scanner) scan() (i int, err error) {
	part := s.part
	for i < len(part) && err == nil {
		c := part[i]
		switch s.place {
		case inText:
			i, err = s.look(i)
			continue
		case inSecret:
			if s.place = inHidden; c != '"' {
				s.muteAt(i, Mask) // an empty string hides nothing
			}
			continue
		case inHidden:
			i, err = s.skim(i)
			continue
		case inEscape:
			i, err = s.escape(i)
			continue
		case inNumber:
			if s.number.take(c) {
				i++
				if s.number.inDigits() {
					for i < len(part) && '0' <= part[i] && part[i] <= '9' {
						i++
					}
				}
				continue
			}
			if !s.number.complete() {
				return i, syntax(c)
			}
			s.endValue(i)
			if len(s.held) > 0 {
				s.endHeld(i)
			}
			continue
		case inWord:
			if s.word[0] != c {
				return i, syntax(c)
			}
			i++
			if s.word = s.word[1:]; s.word == "" {
				s.endValue(i)
			}
			continue
		}
		switch {
		case c == '"' && (s.place == wantKey || s.place == wantValue):
			if s.waits {
				s.holdValue(i, c)
			}
			s.openString(s.place == wantKey)
			i++
		case c == ':' && s.place == wantColon:
			s.place = wantValue
			i++
		case c == ',' && s.place == wantComma:
			s.place = wantValue
			if s.nest.inObject {
				s.place = wantKey
			}
			i++
		case blank[c] && s.place != inMark:
			i++
		default:
			i, err = s.token(i, c)
		}
	}
	return i, err
}

// blank is white space between tokens.
var blank = byteSet(" \t\r\n")

// syntax is the error for a byte that does not belong where it is.
func syntax(c byte) error {
	if c == 0 || c >= 0xfe {
		return ErrEncoding // half a letter of UTF-16
	}
	return ErrSyntax
}

// token takes c = part[i], unless scan has done so already, as it does with what
// is most frequent.
func (s *scanner) token(i int, c byte) (int, error) {
	switch s.place {
	case atStart, inMark:
		return s.byteOrderMark(i, c)
	case wantValue, wantValueOrEnd:
		if c == ']' && s.place == wantValueOrEnd {
			s.close(i)
			return i + 1, nil
		}
		return s.value(i, c)
	case wantKey, wantKeyOrEnd:
		switch {
		case c == '"':
			s.openString(true)
			return i + 1, nil
		case c == '}' && s.place == wantKeyOrEnd:
			s.close(i)
			return i + 1, nil
		}
	case wantComma:
		if s.nest.inObject && c == '}' || !s.nest.inObject && c == ']' {
			s.close(i)
			return i + 1, nil
		}
	}
	return i, syntax(c)
}

// byteOrderMark passes the mark of UTF-8.
func (s *scanner) byteOrderMark(i int, c byte) (int, error) {
	const mark = "\xef\xbb\xbf"
	switch {
	case s.mark == 0 && c != mark[0]:
		s.place = wantValue
		return i, nil
	case c != mark[s.mark] || s.mark == 0 && s.base+int64(i) > 0:
		return i, syntax(c)
	}
	s.place = inMark
	if s.mark++; s.mark == len(mark) {
		s.place = wantValue
	}
	return i + 1, nil
}

// value begins the value whose first byte is c = part[i].
func (s *scanner) value(i int, c byte) (int, error) {
	if s.waits {
		s.holdValue(i, c)
	}
	switch c {
	case '"':
		s.openString(false)
	case '{', '[':
		if s.nest.depth == MaxDepth {
			return i, ErrDepth
		}
		s.nest.push(c == '{')
		if s.place = wantValueOrEnd; c == '{' {
			s.place = wantKeyOrEnd
		}
		if s.secret {
			s.muteAt(i+1, "")
			s.hidden = s.nest.depth
		}
		s.secret, s.traits = false, 0
	case 't':
		s.place, s.word = inWord, "true"[1:]
	case 'f':
		s.place, s.word = inWord, "false"[1:]
	case 'n':
		s.place, s.word = inWord, "null"[1:]
	default:
		if !s.number.begin(c) {
			return i, syntax(c)
		}
		s.place = inNumber
		if s.secret && s.traits&statusNumber == 0 {
			s.muteAt(i, "0")
		}
	}
	return i + 1, nil
}

// close closes the innermost container at part[i].
func (s *scanner) close(i int) {
	if s.hidden == s.nest.depth {
		s.hidden = 0
		s.unmuteAt(i)
	}
	if len(s.held) > 0 {
		s.decideHeld(i, false)
	}
	s.nest.pop()
	s.afterValue()
	if len(s.held) > 0 {
		s.endHeld(i + 1)
	}
}

// endValue ends a string, number or word before part[i].
func (s *scanner) endValue(i int) {
	if s.hidden == 0 && s.mute {
		s.unmuteAt(i)
	}
	s.afterValue()
}

func (s *scanner) afterValue() {
	s.secret, s.traits = false, 0
	if s.place = wantComma; s.nest.depth == 0 {
		s.place = wantNothing
	}
}

// endKey is called with the name of a key.
func (s *scanner) endKey(name []byte) {
	s.place = wantColon
	s.traits = s.names.ask(judge, name)
	s.secret = s.traits&secretValue != 0 || s.traits&named != 0 && s.nest.namedSecret()
	s.waits = s.traits&named != 0 && !s.secret
}
