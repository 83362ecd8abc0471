// The policy: which keys and values of a document are secrets, and what of it is passed.

package filter

import (
	"fmt"
	"io"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
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
	level   int // how many strings the document stands in

	text   text
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
		event, next := s.json.Next(part, i)
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
		return s.openString(event == jsonscan.Key, next)
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

// startOf is where what begins before part[next] has its first byte.
func (s *scanner) startOf(event jsonscan.Event, next int) int {
	if event == jsonscan.Number || event == jsonscan.Word {
		return s.json.Start
	}
	return next - 1
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

// endKey is called with the name of a key.
func (s *scanner) endKey(name []byte) {
	s.traits = s.names.ask(judge, name)
	s.secret = s.traits&secretValue != 0 || s.traits&named != 0 && s.objects.namedSecret(s.json.Depth())
	s.waits = s.traits&named != 0 && !s.secret
}
