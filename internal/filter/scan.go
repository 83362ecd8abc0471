// The policy: which keys and values of a document are secrets, and what of it is passed.

package filter

import (
	"fmt"
	"io"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// scanner takes a document in parts. It appends to out what is passed.
type scanner struct {
	out  []byte
	part []byte
	from int   // part[from:] has been neither passed nor left out yet
	mute bool  // what comes is left out
	base int64 // bytes of the document before part

	json    jsonscan.Scanner
	inside  inside
	objects objects
	hidden  int    // the depth of the container that is left out, or 0
	traits  traits // of the last key
	secret  bool   // the value to come is a secret
	waits   bool   // the value to come may turn out to be one
	held    []held
	level   int  // how many strings the document stands in
	closely bool // no string is taken at a stroke, for tests

	text   text
	steps  steps
	names  judged // of fields
	values judged // of naming fields
}

// inside tells which string the scanner is in, if it regards it.
type inside uint8

const (
	inNothing inside = iota
	inText           // a string that is looked at
	inSecret         // right behind the quotation mark that opens a secret string
	inHidden         // a string that is left out
)

// newScanner returns a scanner for a document that stands in so many strings.
func newScanner(level int) *scanner {
	return &scanner{level: level, json: jsonscan.Scanner{MaxDepth: MaxDepth, Mark: true}}
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
	s.json.EndNumber()
	if s.json.Complete() || s.json.Empty() {
		return nil
	}
	return fmt.Errorf("the answer is truncated: %w", io.ErrUnexpectedEOF)
}

// scan goes through part. i is where it has stopped.
func (s *scanner) scan() (i int, err error) {
	part := s.part
	for i < len(part) && err == nil {
		switch s.inside {
		case inText:
			i, err = s.look(i)
			continue
		case inSecret:
			if s.inside = inHidden; part[i] != '"' {
				s.muteAt(i, Mask) // an empty string hides nothing
			}
		}
		if s.canHurry() {
			if i = s.hurry(i); i == len(part) {
				break
			}
		}
		event, next := s.json.Next(part, i)
		if s.hidden == 0 && s.takeUsual(event, next) {
			i = next
			continue
		}
		switch event {
		case jsonscan.More:
		case jsonscan.Broken, jsonscan.TooDeep:
			err = s.broken(event, next)
		case jsonscan.Close:
			s.close(next - 1)
		case jsonscan.End:
			if s.hidden == 0 {
				s.endOther(next)
			}
		default:
			if s.hidden == 0 {
				next, err = s.begin(event, next)
			}
		}
		i = next
	}
	return i, err
}

// takeUsual takes what comes most often, if it is whole and nothing is secret about it. It
// reports false, and has done nothing, for everything else.
func (s *scanner) takeUsual(event jsonscan.Event, next int) bool {
	switch event {
	case jsonscan.Key:
		if !s.json.Whole || s.closely {
			return false
		}
		told := s.names.ask(judgeKey, s.part[s.json.Start+1:next-1])
		if told&quietName == 0 {
			return false
		}
		s.takeKey(told)
		return true
	case jsonscan.String:
		if !s.json.Whole || s.closely || s.secret || s.waits || s.traits&naming != 0 {
			return false
		}
		if text := s.part[s.json.Start+1 : next-1]; !quiet(text, text) {
			return false
		}
	case jsonscan.Number, jsonscan.Word:
		if !s.json.Whole || s.secret || s.waits {
			return false
		}
	default:
		return false
	}
	s.traits = 0
	if len(s.held) > 0 {
		s.endHeld(next)
	}
	return true
}

// broken is the error for part[i], which does not belong where it is.
func (s *scanner) broken(event jsonscan.Event, i int) error {
	if s.waits && s.json.WantsValue() {
		s.holdValue(i, event)
	}
	if event == jsonscan.TooDeep {
		return ErrDepth
	}
	return syntax(s.part[i])
}

// syntax is the error for a byte that does not belong where it is.
func syntax(c byte) error {
	if c == 0 || c >= 0xfe {
		return ErrEncoding // half a letter of UTF-16
	}
	return ErrSyntax
}

// begin begins a key or a value, and goes to the end of a string that is looked at.
func (s *scanner) begin(event jsonscan.Event, next int) (int, error) {
	if s.waits {
		s.holdValue(s.startOf(event, next), event)
	}
	switch event {
	case jsonscan.Key, jsonscan.String:
		if event == jsonscan.Key {
			return s.openString(true, s.json.Reopen())
		}
		if end := s.takeString(next); end > 0 {
			return end, nil
		}
		return s.openString(false, s.json.Reopen())
	case jsonscan.Object, jsonscan.Array:
		depth := s.json.Depth()
		s.objects.open(depth)
		if s.secret {
			s.muteAt(next, "")
			s.hidden = depth
		}
		s.secret, s.traits = false, 0
	case jsonscan.Number, jsonscan.Word:
		if event == jsonscan.Number && s.secret && s.traits&statusNumber == 0 {
			s.muteAt(s.json.Start, "0")
		}
		if s.json.Whole {
			s.endValue(next, next)
		}
	}
	return next, nil
}

// takeString takes a string at a stroke, if it ends in this part and needs no closer look,
// and returns where it ends. Otherwise it returns 0. next is what the scanner has returned
// with the beginning of the string.
func (s *scanner) takeString(next int) int {
	part, start := s.part, s.json.Start+1
	switch {
	case s.closely:
		return 0
	case s.json.Whole:
		text := part[start : next-1]
		if !s.secret && !quiet(text, text) {
			return 0
		}
		s.endString(text, start, next)
		return next
	}
	event, end := s.json.Next(part, next)
	if event != jsonscan.End || end-start > LookAhead {
		return 0
	}
	text, read, ok := s.text.decode(part[start : end-1])
	if !ok || !s.secret && !quiet(text, read) {
		return 0
	}
	s.endString(text, start, end)
	return end
}

// endString ends a string that needs no closer look. text is what it says; it begins at
// part[start] and ends before part[end].
func (s *scanner) endString(text []byte, start, end int) {
	switch {
	case s.secret:
		if len(text) > 0 { // an empty string hides nothing
			s.muteAt(start, Mask)
		}
		s.endValue(end-1, end)
		return
	case s.traits&naming != 0:
		s.endNaming(text[max(0, len(text)-nameKept):], len(text), end-1)
	}
	s.endValue(end, end)
}

// startOf is where what begins before part[next] has its first byte.
func (s *scanner) startOf(event jsonscan.Event, next int) int {
	if event == jsonscan.Object || event == jsonscan.Array {
		return next - 1
	}
	return s.json.Start
}

// close ends the innermost container at part[i].
func (s *scanner) close(i int) {
	depth := s.json.Depth() + 1
	if s.hidden == depth {
		s.hidden = 0
		s.unmuteAt(i)
	}
	if len(s.held) > 0 {
		s.decideHeld(i, depth, false)
	}
	s.secret, s.traits = false, 0
	if len(s.held) > 0 {
		s.endHeld(i + 1)
	}
}

// endOther ends what is not looked at, before part[end].
func (s *scanner) endOther(end int) {
	shown := end
	if s.inside == inHidden {
		shown-- // the quotation mark
	}
	s.endValue(shown, end)
}

// endValue ends a string, number or word before part[end]. From part[shown] on, it is passed again.
func (s *scanner) endValue(shown, end int) {
	s.inside = inNothing
	if s.mute {
		s.unmuteAt(shown)
	}
	s.secret, s.traits = false, 0
	if len(s.held) > 0 {
		s.endHeld(end)
	}
}

// takeKey notes what the name of a key tells.
func (s *scanner) takeKey(told traits) {
	s.traits = told
	s.secret = s.traits&secretValue != 0 || s.traits&named != 0 && s.objects.namedSecret(s.json.Depth())
	s.waits = s.traits&named != 0 && !s.secret
}

// endNaming is called with the end of the value of a naming field, which has size bytes
// and a quotation mark at part[i].
func (s *scanner) endNaming(value []byte, size, i int) {
	depth := s.json.Depth()
	s.objects.nameSomething(depth)
	if size <= longestNaming && !likeUUID(value) && !svclog.UnlikeAName(view(value)) && s.values.ask(namesSecret, value) != 0 {
		s.objects.nameSecret(depth)
		s.decideHeld(i, depth, true)
	}
}
