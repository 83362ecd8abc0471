// The search for traces, most of which passes by the automaton: only where the last two
// bytes of a trace are seen, the automaton goes over what stands before them.

package filter

import (
	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// hint tells for a byte of which groups of traces it can be the last one, the second
// last, and so on: one bit for each group.
type hint struct{ last, second, third, fourth uint16 }

var hints [256]hint

const (
	// alone is the group of bytes that are traces by themselves, and of those that do not
	// stand for themselves.
	alone = 1
	// ofWords is the group of all traces that are words.
	ofWords = 2
	// anything stands for bytes that are not looked back at.
	anything = 1<<16 - 1
)

// longestTrace is more bytes than any trace has.
const longestTrace = 24

// buildHints fills hints.
func buildHints() {
	groups, used := make(map[string]uint16), uint16(ofWords)
	for i := range traces {
		t := &traces[i]
		group := uint16(alone)
		switch size := len(t.text); {
		case size >= longestTrace:
			panic("filter: a trace is too long")
		case t.word:
			group = ofWords
		case size > 1:
			end := t.text[size-2:]
			if groups[end] == 0 {
				if used <<= 1; used == 0 {
					panic("filter: too many groups of traces")
				}
				groups[end] = used
			}
			group = groups[end]
		}
		for c := range hints {
			hints[c].add(t, group, byte(c))
		}
	}
	for c := range hints {
		if h := &hints[c]; jsonscan.Stops[c] {
			h.last |= alone
		}
	}
}

// add notes what place c has in a trace of that group.
func (h *hint) add(t *trace, group uint16, c byte) {
	for back, place := range []*uint16{&h.last, &h.second, &h.third, &h.fourth} {
		if at := len(t.text) - 1 - back; at < 0 || t.fits(at, c) {
			*place |= group
		}
	}
	h.second, h.third, h.fourth = h.second|alone, h.third|alone, h.fourth|alone
}

// search goes on to the next byte from part[i] on that ends a trace or does not stand for
// itself. The automaton has read all that comes before it then, unless it ends the string.
func (t *text) search(part []byte, i int) int {
	known := i // the automaton has read what comes before
	before := uint16(anything)
	for ; i < len(part); i++ {
		h := &hints[part[i]]
		if found := h.last & before; found != 0 {
			c := part[i]
			if c == '"' {
				return i
			}
			if i-known < 3 || found&hints[part[i-2]].third&hints[part[i-3]].fourth != 0 {
				t.read(part[known:i])
				to := next[t.automaton][c]
				if to <= lastFound {
					return i
				}
				t.automaton, known = to, i+1
			}
		}
		before = h.second
	}
	t.read(part[known:i])
	return i
}

// read has the automaton read what stands for itself.
func (t *text) read(part []byte) { t.automaton = after(t.automaton, part) }

// after is the state behind part. It depends on no more than the last bytes.
func after(at uint8, part []byte) uint8 {
	if over := len(part) - longestTrace; over > 0 {
		at, part = middle, part[over:]
	}
	for _, c := range part {
		at = next[at][c]
	}
	return at
}

// quiet reports whether a string needs no closer look: it has no trace in it, or only
// traces that turn out to be none, and does not open as JSON. reads is what the automaton
// reads of what the string says: the same, with stand-ins for some bytes.
func quiet(says, reads []byte) bool {
	if len(reads) == 0 {
		return true
	}
	return !opensNested[says[0]] && quietFrom(says, reads, 0)
}

// quietFrom reports whether no trace that ends at reads[from] or later needs a closer look.
func quietFrom(says, reads []byte, from int) bool {
	before := uint16(anything)
	if from > 0 {
		before = hints[reads[from-1]].second
	}
	for i := from; i < len(reads); i++ {
		h := &hints[reads[i]]
		if found := h.last & before; found != 0 && !harmless(says, reads, i, found) {
			return false
		}
		before = h.second
	}
	return true
}

// harmless reports whether no secret follows reads[i], which may be the last byte of a
// trace of these groups.
func harmless(says, reads []byte, i int, found uint16) bool {
	if i >= 3 && found&hints[reads[i-2]].third&hints[reads[i-3]].fourth == 0 {
		return true
	}
	if c := reads[i]; c == '=' || c == ':' {
		return !assigns(says[:i], c == ':')
	}
	from := max(0, i+1-longestTail)
	at := after(begin, reads[:i+1])
	if at > lastFound {
		return true
	}
	switch is := kindAt[at]; {
	case is.param():
		_, secret := namesParam(says[from:i+1], is)
		return !secret
	case is == userSecret:
		return noUser(says[i+1:])
	}
	return false
}

// assigns reports whether the end of a text, which = or a colon follows, is the name of a
// secret.
func assigns(before []byte, colon bool) bool {
	_, secret := svclog.NamesParameter(view(before[max(0, len(before)+1-longestTail):]), colon)
	return secret
}

// noUser reports whether what follows :// has no user part, nor anything that may spell
// one otherwise, and is short enough to be held back.
func noUser(rest []byte) bool {
	for i, c := range rest[:min(len(rest), LookAhead)] {
		switch {
		case endsUser[c]:
			return true
		case c == '@' || c == '%' || i == LookAhead-1:
			return false
		}
	}
	return true
}
