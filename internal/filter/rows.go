// The usual parts of a document, which have no secret: fields and elements whose values are
// simple, one after the other. What leads from one value to the next comes again in each
// row of a list, so that a comparison is enough to know it.

package filter

import (
	"encoding/binary"
	"math/bits"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
)

// steps remembers what leads from one value to the next.
type steps struct {
	known  [128]step
	latest uint8
}

// step is one that can be taken without a look at the name of the field.
type step struct {
	text   [longestStep]byte
	size   uint8
	kind   jsonscan.Step
	traits traits // of the name
	then   uint8  // what came behind it most recently
}

const longestStep = 60

// hurry takes fields and elements from part[i] on that are whole, usual and free of
// secrets, and returns where it has stopped: at what scan has to take.
func (s *scanner) hurry(i int) int {
	part, json := s.part, &s.json
	for i < len(part) {
		c := part[i]
		if !json.AtValue() || c == '{' {
			next := i
			if c == ',' {
				next = json.Element(part, i)
			}
			if next == i {
				if next = s.step(i); next == i {
					return i
				}
				if s.secret || s.waits {
					return next
				}
			}
			if i = next; part[i] == '{' {
				continue
			}
			c = part[i]
		}
		if c == '"' {
			end := quietEnd(part, i+1)
			if end == 0 {
				return i
			}
			if s.traits&naming != 0 {
				text := part[i+1 : end]
				s.endNaming(text[max(0, len(text)-nameKept):], len(text), end)
			}
			i = end + 1
		} else {
			end := jsonscan.SimpleEnd(part, i)
			if end == 0 {
				return i
			}
			i = end
		}
		s.traits = 0
		json.TakeValue()
	}
	return i
}

// canHurry reports whether hurry may go on.
func (s *scanner) canHurry() bool {
	return s.inside == inNothing && s.hidden == 0 && !s.secret && !s.waits && len(s.held) == 0 && s.json.Inner() && !s.closely
}

// step takes the step at part[i] to the value of a field and returns where that begins. If
// there is none, or something about the name has to be looked at, it returns i.
func (s *scanner) step(i int) int {
	at := &s.steps.known[s.steps.latest]
	to := &s.steps.known[at.then]
	next := i + int(to.size)
	if to.size == 0 || next >= len(s.part) || string(s.part[i:next]) != string(to.text[:to.size]) || !s.json.Allows(to.kind) {
		if next = s.learn(i); next == i {
			return i
		}
		to = &s.steps.known[at.then]
	}
	s.steps.latest = at.then
	s.json.Take(to.kind)
	if to.kind == jsonscan.ToRow || to.kind == jsonscan.Inward {
		s.objects.open(s.json.Depth())
	}
	if s.traits = to.traits; s.traits&^(naming|quietName) != 0 {
		s.takeKey(to.traits)
	}
	return next
}

// learn remembers the step at part[i] as the next one, and returns where it ends. If there
// is none that can be remembered, it returns i.
func (s *scanner) learn(i int) int {
	kind, from, to, next := s.json.Step(s.part, i)
	if kind == jsonscan.NoStep || to-from > longestPrint || next-i > longestStep {
		return i
	}
	name, text := s.part[from:to], s.part[i:next]
	told := s.names.ask(judgeKey, name)
	if told&quietName == 0 {
		return i
	}
	footprint := printOf(name)
	slot := uint8(footprint.mix(next-i)) * 2
	if first := &s.steps.known[slot]; first.size > 0 && !first.is(text) {
		slot++
	}
	known := &s.steps.known[slot]
	s.steps.known[s.steps.latest].then = slot
	if !known.is(text) {
		known.size, known.then = uint8(copy(known.text[:], text)), slot
	}
	known.kind, known.traits = kind, told
	return next
}

func (k *step) is(text []byte) bool { return string(k.text[:k.size]) == string(text) }

// quietEnd returns the index of the quotation mark that ends the string whose content begins
// at part[start]. It is 0 if the string has to be looked at more closely: for an escape, the
// end of part, a secret, or what may be one.
func quietEnd(part []byte, start int) int {
	if start < tellingBefore || start+8+tellingBefore > len(part) {
		return 0
	}
	if c := part[start]; opensNested[c] {
		if c == '"' {
			return start
		}
		return 0
	}
	for i := start; i+8+tellingBefore <= len(part); i += 8 {
		window := part[i-tellingBefore : i+8] // one check of bounds for three loads
		here, before := binary.LittleEndian.Uint64(window[tellingBefore:]), binary.LittleEndian.Uint64(window[tellingBefore-1:])
		found := telling(here, before, binary.LittleEndian.Uint64(window))
		for ; found != 0; found &= found - 1 {
			at := i + bits.TrailingZeros64(found)/8
			if part[at] == '"' {
				return at
			}
			if suspect(part, start, at) {
				return quietRest(part, start, i)
			}
		}
	}
	return 0
}

// quietRest is quietEnd for a string in which nothing tells of a trace before part[i].
func quietRest(part []byte, start, i int) int {
	end := jsonscan.Plain(part, i)
	if end == len(part) || part[end] != '"' {
		return 0
	}
	if text := part[start:end]; !quietFrom(text, text, i-start) {
		return 0
	}
	return end
}

// suspect reports whether part[at], which telling has marked in the string that begins at
// part[start], may be in a trace, or has a meaning of its own in a string.
func suspect(part []byte, start, at int) bool {
	switch c, before, behind := part[at], part[at-1], part[at+1]; c {
	case ' ': // bearer, basic
		return before|0x20 == 'r' || before|0x20 == 'c'
	case 'y', 'Y': // eyJ, eyA, private key, putty-user-key-file-
		return part[at-2]|0x20 == 'k' || behind == 'J' || behind == 'A'
	case 'w': // ewo, ew0
		return behind == 'o' || behind == '0'
	case '_': // vak_
		return before == 'k'
	case ':':
		return behind == '/' || assigns(part[start:at], true)
	case '=':
		return assigns(part[start:at], false)
	case '>', '%', '\\':
		return true
	default:
		return c < ' '
	}
}

// tellingBefore is how far telling looks back.
const tellingBefore = 4

// telling marks, by their highest bits, those of eight bytes that are in jsonscan.Stops or
// tell of a trace: each trace has one of them. Of the bits that are set, only the lowest is
// certain. before are the bytes that stand one before them, and fourth those that stand
// four before them.
//
// What tells of a trace is one of = : > % _, or ew or ey, as in eyJ and private key, or a
// blank four behind an a, as in Bearer and Basic. Some other bytes are marked as well.
func telling(eight, before, fourth uint64) uint64 {
	const (
		ones   = 0x0101010101010101
		high   = 0x80 * ones
		lower  = 0x20 * ones
		column = 0x1f * ones // by which : = > \ _ are alike
	)
	blanks := eight ^ ' '*ones
	blanks = (blanks - ones) &^ blanks
	found := (eight-('%'+1)*ones)&^eight&^blanks | (eight&column + (0x80-0x1a)*ones)
	e := (before | lower) ^ 'e'*ones
	found |= (e - ones) &^ e & ((eight | lower) + (0x80-'w')*ones)
	a := (fourth | lower) ^ 'a'*ones
	found |= (a - ones) &^ a & blanks
	return found & high
}
