// Values that come before their names: {"value":"x","name":"password"}. What a
// value shows is held back until its object has named something or is over.

package filter

import (
	"slices"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
)

// held is a value that has been written to scanner.out and is not passed yet.
type held struct {
	depth      int   // of its object
	start, end int   // in scanner.out; end is 0 while the value goes on
	at         int64 // where it began in the document
	mask       string
	passes     bool // if no name comes in time
}

// Limits of what is held back.
const (
	// HoldBack is how many bytes may lie between a value and the field that names it. A
	// string or number without a name by then is masked. An object or array is passed,
	// because whole lists are called value, too.
	HoldBack = 4 << 10

	mostHeld = 32 // values at once; the next one is taken for a secret
)

// holdValue begins to hold back the value at part[i].
func (s *scanner) holdValue(i int, event jsonscan.Event) {
	s.waits = false
	h := held{depth: s.json.Depth(), at: s.base + int64(i)}
	switch event {
	case jsonscan.String:
		h.mask = `"` + Mask + `"`
	case jsonscan.Object:
		h.depth--
		h.mask, h.passes = "{}", true
	case jsonscan.Array:
		h.depth--
		h.mask, h.passes = "[]", true
	case jsonscan.Word:
		return
	default:
		h.mask = "0"
	}
	h.passes = h.passes || s.objects.named(h.depth)
	if len(s.held) == mostHeld {
		s.secret = true
		return
	}
	s.settle(i)
	h.start = len(s.out)
	s.held = append(s.held, h)
}

// endHeld notes that a value has ended before part[i], if it is the one that is held
// back last.
func (s *scanner) endHeld(i int) {
	if h := &s.held[len(s.held)-1]; h.end == 0 && h.depth == s.json.Depth() {
		s.settle(i)
		h.end = len(s.out)
	}
}

// maskHeld replaces the value with index n in scanner.out.
func (s *scanner) maskHeld(n int) {
	h := s.held[n]
	if string(s.out[h.start:h.end]) == `""` {
		return // an empty string hides nothing
	}
	s.out = slices.Replace(s.out, h.start, h.end, []byte(h.mask)...)
	moved := len(h.mask) - (h.end - h.start)
	for later := n + 1; later < len(s.held); later++ {
		s.held[later].start += moved
		if s.held[later].end != 0 {
			s.held[later].end += moved
		}
	}
	if s.text.nested.on {
		s.text.nested.start += moved
	}
}

// decideHeld masks or passes the values of the object at that depth, at part[i]: because
// the object has named a secret, or because it is over.
func (s *scanner) decideHeld(i, depth int, secret bool) {
	first := len(s.held)
	for first > 0 && s.held[first-1].depth == depth {
		first--
	}
	for n := len(s.held) - 1; n >= first; n-- {
		if late := s.held[n].late(s.base + int64(i)); late && !s.held[n].passes || !late && secret {
			s.maskHeld(n)
		}
	}
	s.held = s.held[:first]
}

// late reports whether a value has been held back for too long at this byte of the
// document.
func (h held) late(at int64) bool { return at-h.at > HoldBack }

// passed is how much of scanner.out is decided about behind a part.
func (s *scanner) passed() int {
	end := s.passedValues()
	if s.text.nested.on {
		end = min(end, s.text.nested.start)
	}
	return end
}

func (s *scanner) passedValues() int {
	if len(s.held) == 0 {
		return len(s.out)
	}
	for n, v := range slices.Backward(s.held) {
		switch h := v; {
		case h.passes || !h.late(s.base):
		case h.end != 0:
			s.maskHeld(n)
		default:
			s.cutHeld(h)
		}
	}
	kept := s.held[:0]
	for _, h := range s.held {
		if !h.late(s.base) {
			kept = append(kept, h)
		}
	}
	if s.held = kept; len(kept) > 0 {
		return kept[0].start
	}
	return len(s.out)
}

// cutHeld leaves out a string or number that goes on for too long.
func (s *scanner) cutHeld(h held) {
	s.out = s.out[:h.start]
	s.mute = true
	if h.mask == "0" {
		s.out = append(s.out, '0')
		return
	}
	s.out = append(s.out, `"`+Mask...)
	t := &s.text
	t.mode, t.capturing, t.held, t.nested.on = searching, false, t.held[:0], false
	s.inside = inHidden
}

// keep moves what is held back to the beginning of scanner.out, behind the first
// bytes, which were passed.
func (s *scanner) keep(passed int) {
	s.out = s.out[:copy(s.out, s.out[passed:])]
	for n := range s.held {
		s.held[n].start -= passed
		if s.held[n].end != 0 {
			s.held[n].end -= passed
		}
	}
	if s.text.nested.on {
		s.text.nested.start -= passed
	}
}
