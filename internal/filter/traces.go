// What a secret inside a string begins with, and the automaton that finds it.

package filter

import (
	"math"
	"slices"
	"sync"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
)

// kind is a kind of secret inside a string.
type kind uint8

const (
	noSecret      kind = iota
	uriSecret          // otpauth://…
	restSecret         // keys in PEM and the like: all that follows
	bearerSecret       // Bearer …
	tokenSecret        // a JWT
	keySecret          // a key of a client of veeam-auth
	userSecret         // the user part of a URL
	paramSecret        // the value of a parameter, if its name is that of a secret
	colonSecret        // … behind a colon
	elementSecret      // all that follows the start of an XML element, if its name is that of a secret
)

// param reports whether a name decides.
func (k kind) param() bool { return k >= paramSecret }

// trace is what gives a secret away. It is no secret itself and stays.
type trace struct {
	kind kind
	text string // in lower case; the case of a string does not matter
	word bool   // only at the beginning of Base64, and case matters
}

var traces = []trace{
	{kind: uriSecret, text: "otpauth://"},
	{kind: uriSecret, text: "otpauth%3a%2f%2f"},
	{kind: uriSecret, text: "otpauth-migration://"},

	// Public keys and certificates are in PEM as well, and public.
	{kind: restSecret, text: "private key-----"},
	{kind: restSecret, text: "private key ----"},
	{kind: restSecret, text: "private key block-----"},
	{kind: restSecret, text: "putty-user-key-file-"},
	{kind: restSecret, text: "</exponent><p>"}, // .NET's RSAKeyValue, behind its public half
	{kind: restSecret, text: "</exponent><d>"},

	{kind: bearerSecret, text: "bearer "},
	{kind: bearerSecret, text: "bearer%20"},
	{kind: bearerSecret, text: "basic "},
	{kind: bearerSecret, text: "basic%20"},

	// Behind otpauth://, which is more than the user part.
	{kind: userSecret, text: "://"},
	{kind: userSecret, text: "%3a%2f%2f"},
	{kind: paramSecret, text: "="},
	{kind: paramSecret, text: "%3d"},
	{kind: paramSecret, text: "%253d"},
	{kind: colonSecret, text: ":"},
	{kind: colonSecret, text: "%3a"},
	{kind: colonSecret, text: "%253a"},
	{kind: elementSecret, text: ">"},

	// Base64 of { and a quotation mark or white space.
	{kind: tokenSecret, text: "eyJ", word: true},
	{kind: tokenSecret, text: "eyA", word: true},
	{kind: tokenSecret, text: "ewo", word: true},
	{kind: tokenSecret, text: "ew0", word: true},

	{kind: keySecret, text: "vak_", word: true},
}

// State 0 of the automaton says that a byte cannot simply be passed: it ends the
// string, begins an escape or does not belong there. Then come those that have
// found something, whose kind is in kindAt.
const lastFound = 40

var kindAt [256]kind

// next is the automaton, begin its state at the beginning of a string. prepare sets them.
var (
	next  [256][256]uint8
	begin uint8

	// middle is the state in which nothing is open, not even the beginning of a word.
	middle uint8
)

// prepare builds the automaton, which only filters need.
var prepare = sync.OnceFunc(func() {
	begin = buildAutomaton()
	buildHints()
})

// fits reports whether c can stand at place at of a trace. Place -1 is what stands
// before a word.
func (t *trace) fits(at int, c byte) bool {
	switch {
	case at < 0:
		return !base64URL[c]
	case !t.word && 'A' <= c && c <= 'Z':
		c += 'a' - 'A'
	}
	return c == t.text[at]
}

// partial is a trace and how much of it has been seen.
type partial struct{ trace, seen int }

// state is what has been seen: traces in part, or one of a kind.
type state struct {
	open  []partial
	found kind
}

// buildAutomaton fills next and returns the state to begin with.
func buildAutomaton() uint8 {
	var states []state
	var numbers []uint8
	last, lastOfFound := lastFound, 0
	number := func(s state) uint8 {
		for i, known := range states {
			if known.found == s.found && slices.Equal(known.open, s.open) {
				return numbers[i]
			}
		}
		var n int
		if s.found == noSecret {
			last++
			n = last
		} else {
			lastOfFound++
			n = lastOfFound
		}
		if last > math.MaxUint8 || lastOfFound > lastFound {
			panic("filter: too many states")
		}
		kindAt[n] = s.found
		states, numbers = append(states, s), append(numbers, uint8(n))
		return uint8(n)
	}
	first := number(state{open: words()})
	middle = number(state{})
	like := alike()
	at := 0
	for at < len(states) { // which grow
		to := &next[numbers[at]]
		for c := range 256 {
			switch {
			case jsonscan.Stops[c]:
			case like[c] < byte(c):
				to[c] = to[like[c]]
			default:
				to[c] = number(states[at].follow(byte(c)))
			}
		}
		at++
	}
	return first
}

// alike is for each byte the first one that has the same places in all traces.
func alike() (like [256]byte) {
	first := make(map[string]byte)
	for c := range 256 {
		if jsonscan.Stops[c] {
			continue
		}
		var places []byte
		for i := range traces {
			for at := -1; at < len(traces[i].text); at++ {
				if (at >= 0 || traces[i].word) && traces[i].fits(at, byte(c)) {
					places = append(places, byte(i), byte(at))
				}
			}
		}
		if _, found := first[string(places)]; !found {
			first[string(places)] = byte(c)
		}
		like[c] = first[string(places)]
	}
	return like
}

// words are the traces that may begin where a word does.
func words() (open []partial) {
	for i := range traces {
		if traces[i].word {
			open = append(open, partial{i, 0})
		}
	}
	return open
}

// follow returns the state after one more byte.
func (s *state) follow(c byte) state {
	var after state
	for i := range traces {
		t := &traces[i]
		switch {
		case t.word && t.fits(-1, c):
			after.open = append(after.open, partial{i, 0})
		case !t.word && t.fits(0, c) && len(t.text) == 1:
			after.find(t.kind)
		case !t.word && t.fits(0, c):
			after.open = append(after.open, partial{i, 1})
		}
		for _, p := range s.open {
			switch {
			case p.trace != i || !t.fits(p.seen, c):
			case p.seen+1 < len(t.text):
				after.open = append(after.open, partial{i, p.seen + 1})
			default:
				after.find(t.kind)
			}
		}
	}
	if after.found != noSecret && after.found != tokenSecret && after.found != keySecret {
		after.open = append(after.open, words()...)
	}
	return after
}

// find notes what ends here. The first one of the traces counts.
func (s *state) find(found kind) {
	if s.found == noSecret {
		s.found = found
	}
}

var (
	alphanumeric  = byteSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
	base64URL     = byteSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
	endsURI       = byteSet(" \t\r\n\"'<>\\`")
	endsUser      = byteSet(" \t\r\n\"'<>\\`/?#")
	endsParam     = byteSet(" \t\r\n&\"'<>")
	endsBearer    = byteSet(" \t\r\n\"'<>,;&()[]{}\\")
	secretLooking = byteSet("0123456789_~+/")
)

func byteSet(s string) (set [256]bool) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}
