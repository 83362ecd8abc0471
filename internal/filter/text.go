// Strings: names are captured, secrets inside other strings are left out.

package filter

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// mode is what is done with the characters of a string.
type mode uint8

const (
	searching     mode = iota // pass them and look for traces
	holdingToken              // behind eyJ: hold them back until it is a JWT or not
	holdingKey                // behind vak_: hold them back until it is a key or not
	holdingBearer             // behind Bearer: hold them back until it is a credential or prose
	holdingUser               // behind ://: hold them back until it is the user part of a URL or not
	openingParam              // behind the name of a secret and =: pass blanks before the value
	hidingToken               // leave them out up to the end of the JWT
	hidingBearer              // … of the credential
	hidingURI                 // … of the URI
	hidingParam               // … of the value of a parameter
	hidingQuoted              // … of the value between quotation marks
	hidingLine                // … of the line
	hidingRest                // … of the string
)

// entered is the mode behind a trace.
var entered = [...]mode{
	uriSecret: hidingURI, restSecret: hidingRest, bearerSecret: holdingBearer,
	tokenSecret: holdingToken, keySecret: holdingKey, userSecret: holdingUser,
	paramSecret: openingParam, colonSecret: openingParam, elementSecret: hidingRest,
}

// What tells secrets from words that look like them.
const (
	// leastHeader is the least of a JWT's header behind its first three letters:
	// {"alg":""} has 14.
	leastHeader = 11
	// leastKey is the least of a key behind its prefix that is no name any more.
	leastKey = 20
	// leastBearer is how long a word of letters behind Bearer is to be a
	// credential.
	leastBearer = 16
)

// text is the state of the string that the scanner is in.
type text struct {
	mode      mode
	automaton uint8
	capturing bool
	name      capture
	held      []byte // what is held back, as it was written
	count     int    // of the characters of a credential that are held back
	masked    bool   // the mask for what is left out has been written
	user      int    // how much of held is the user part of a URL
	token     bool   // what is held may have a JWT in it
	line      bool   // the value of the parameter takes the rest of its line
	quote     byte   // ends the value of the parameter
	tail      []byte // the end of what was read before, decoded: it may be a name
	decoded   []byte // of a string that is taken at a stroke
	stands    []byte
	nested    nested
	letter    [utf8.UTFMax]byte // what the last escape stands for
}

// openString begins a key or a value, whose content begins at part[i].
func (s *scanner) openString(key bool, i int) (int, error) {
	if s.secret && !key {
		s.inside = inSecret
		return i, nil
	}
	t := &s.text
	s.inside = inText
	t.mode, t.automaton = searching, begin
	t.tail = t.tail[:0]
	t.nested.fresh = true
	if t.capturing = key || s.traits&naming != 0; t.capturing {
		t.name.reset()
	}
	if i == len(s.part) {
		return i, nil
	}
	return s.look(i)
}

// closeString ends a string that is looked at with its quotation mark part[i]. rest is
// what has not been remembered of it.
func (s *scanner) closeString(rest []byte, i int) {
	t := &s.text
	if t.nested.on {
		s.feedNested(rest, rest, i)
	}
	if s.mute {
		s.release(nil, i)
	}
	if t.nested.on {
		s.closeNested(i)
	}
	var name []byte
	if t.capturing {
		name = t.name.end(rest)
	}
	if s.json.InKey() {
		s.inside = inNothing
		s.takeKey(s.names.ask(judgeKey, name))
		return
	}
	if t.capturing {
		s.endNaming(name, t.name.size, i)
	}
	s.endValue(i, i+1)
}

// look goes on in a string that is looked at.
func (s *scanner) look(i int) (int, error) {
	t, part := &s.text, s.part
	if t.nested.fresh {
		if t.nested.fresh = false; opensNested[part[i]] {
			s.openNested(i)
		}
	}
	if s.json.InEscape() {
		return s.stop(i, i)
	}
	run := i
	for i < len(part) {
		if t.mode == searching {
			if i = t.search(part, i); i == len(part) {
				break
			}
		}
		c := part[i]
		if c == '"' {
			s.json.EndString()
			s.closeString(part[run:i], i)
			return i + 1, nil
		}
		if jsonscan.Stops[c] {
			return s.stop(run, i)
		}
		i++
		if kindAt[next[t.automaton][c]].param() {
			s.remember(part[run:i], i)
			run = i
		}
		s.character(c, part[i-1:i], i)
	}
	s.remember(part[run:i], i)
	return i, nil
}

// stop takes what does not stand for itself at part[i]. What comes before it, from
// part[run] on, does.
func (s *scanner) stop(run, i int) (int, error) {
	event, end := s.json.Inside(s.part, i)
	if event == jsonscan.End {
		s.closeString(s.part[run:i], i)
		return end, nil
	}
	s.remember(s.part[run:i], i)
	switch event {
	case jsonscan.Broken:
		return end, syntax(s.part[end])
	case jsonscan.Escape:
		s.escape(end)
	}
	return end, nil
}

// longestTail is how much of a string is looked back at for the name of a parameter.
const longestTail = 96

// remember takes what was read before part[end] and written without escapes.
func (s *scanner) remember(part []byte, end int) {
	s.text.keepTail(part)
	if s.text.capturing {
		s.text.name.add(part)
	}
	if s.text.nested.on {
		s.feedNested(part, part, end)
	}
}

// keepTail keeps the end of what was read, decoded.
func (t *text) keepTail(part []byte) {
	part = part[max(0, len(part)-longestTail):]
	if over := len(t.tail) + len(part) - longestTail; over > 0 {
		t.tail = t.tail[:copy(t.tail, t.tail[over:])]
	}
	t.tail = append(t.tail, part...)
}

// namesParam reports whether what was read ends with the name of a secret and what
// was found behind it.
func (t *text) namesParam(found kind) (line, secret bool) { return namesParam(t.tail, found) }

// namesParam does so for a tail.
func namesParam(tail []byte, found kind) (line, secret bool) {
	before := view(tail[:max(0, bytes.LastIndexAny(tail, "=:>%"))])
	if found == elementSecret {
		return false, svclog.NamesElement(before)
	}
	return svclog.NamesParameter(before, found == colonSecret)
}

// character takes one character, of which c is enough to tell what it is. raw is
// how it was written, and ends before part[end].
func (s *scanner) character(c byte, raw []byte, end int) {
	t := &s.text
	stands := standIn(c)
	t.automaton = next[t.automaton][stands]
	switch t.mode {
	case holdingToken:
		if base64URL[c] || c == '.' && t.count >= leastHeader {
			s.hold(raw, c == '.', hidingToken)
			return
		}
		s.release(raw, end)
	case holdingKey:
		if alphanumeric[c] {
			s.hold(raw, t.count+1 >= leastKey, hidingToken)
			return
		}
		s.release(raw, end)
	case holdingBearer:
		if stands == ' ' && t.count == 0 {
			t.count-- // blanks do not count
			s.hold(raw, false, hidingBearer)
			return
		}
		if !endsBearer[c] && c < utf8.RuneSelf {
			s.hold(raw, secretLooking[c] || t.count+1 >= leastBearer, hidingBearer)
			return
		}
		s.release(raw, end)
	case holdingUser:
		if !endsUser[c] {
			s.holdUser(c, raw)
			return
		}
		s.release(raw, end)
	case openingParam:
		s.openParam(c, raw, end)
		return
	case hidingQuoted:
		if c == '\\' {
			t.mode = hidingRest
		}
		if c != t.quote {
			s.mask()
			return
		}
		s.release(raw, end)
	case hidingParam, hidingLine:
		if kindAt[t.automaton] == restSecret {
			t.mode = hidingRest
		}
		if !t.mode.ends(c) {
			s.mask()
			return
		}
		s.release(raw, end) // what the value ends with may be Bearer
	case hidingToken, hidingBearer, hidingURI, hidingRest:
		if !t.mode.ends(c) {
			s.mask()
			return
		}
		t.automaton = next[begin][stands]
		s.release(raw, end)
	}
	if t.automaton <= lastFound {
		s.find(kindAt[t.automaton], end)
	}
}

// find begins to leave out or to hold back what is behind a trace, from part[end] on.
func (s *scanner) find(found kind, end int) {
	t := &s.text
	if found.param() {
		line, secret := t.namesParam(found)
		if !secret {
			return
		}
		t.line = line
	}
	s.muteAt(end, "")
	t.mode, t.count, t.masked = entered[found], 0, false
	t.user, t.token = 0, false
}

// holdUser holds back a character of what may be the user part of a URL. If there
// is another secret in it, the whole is left out.
func (s *scanner) holdUser(c byte, raw []byte) {
	t := &s.text
	switch {
	case c == '@':
		t.user = len(t.held)
	case c == '0' && bytes.HasSuffix(t.held, []byte("%4")):
		t.user = len(t.held) - len("%4")
	}
	then := hidingURI
	hides := false
	switch found := kindAt[t.automaton]; found {
	case tokenSecret, keySecret:
		t.token = true
	case paramSecret, colonSecret, elementSecret:
		if t.line, hides = t.namesParam(found); hides {
			then = hidingParam
			switch {
			case t.line:
				then = hidingLine
			case found == elementSecret:
				then = hidingRest
			}
		}
	case uriSecret, restSecret, bearerSecret:
		hides = true
		if found == restSecret {
			then = hidingRest
		}
	}
	s.hold(raw, hides, then)
}

// openParam passes blanks before the value of a parameter and begins to leave it out.
func (s *scanner) openParam(c byte, raw []byte, end int) {
	t := &s.text
	switch c {
	case '=', ':', '>', ' ', '\t':
		s.out = append(s.out, raw...)
		return
	case '"', '\'', '`':
		s.out = append(s.out, raw...)
		t.mode, t.quote = hidingQuoted, c
	case '{', '[', '\\':
		t.mode = hidingRest
		s.mask()
	default:
		switch t.mode = hidingParam; {
		case t.line:
			t.mode = hidingLine
		case endsParam[c]:
			s.release(raw, end)
			return
		}
		s.mask()
		return
	}
	if t.line {
		t.mode = hidingLine
	}
}

// ends reports whether what is left out ends before c.
func (m mode) ends(c byte) bool {
	switch m {
	case hidingToken:
		return !base64URL[c] && c != '.'
	case hidingBearer:
		return endsBearer[c]
	case hidingURI:
		return endsURI[c]
	case hidingParam:
		return endsParam[c]
	case hidingLine:
		return c == '\r' || c == '\n'
	}
	return false
}

// hold holds back a character. If it settles that there is a secret, or if too
// much is held back, all of it is left out, and what comes as the mode says.
func (s *scanner) hold(raw []byte, settles bool, then mode) {
	t := &s.text
	t.held = append(t.held, raw...)
	t.count++
	if settles || len(t.held) >= LookAhead {
		t.held = t.held[:0]
		t.mode = then
		s.mask()
	}
}

func (s *scanner) mask() {
	if !s.text.masked {
		s.out = append(s.out, Mask...)
		s.text.masked = true
	}
}

// release passes what is held back and raw, and goes on searching before part[end].
func (s *scanner) release(raw []byte, end int) {
	t := &s.text
	switch {
	case t.mode != holdingUser:
		s.out = append(s.out, t.held...)
	case t.token && (t.user > 0 || bytes.IndexByte(t.held, '\\') >= 0):
		s.mask()
	case t.token:
		s.out = svclog.MaskText(s.out, view(t.held))
	default:
		if t.user > 0 {
			s.mask()
		}
		s.out = append(s.out, t.held[t.user:]...)
	}
	s.out = append(s.out, raw...)
	t.held = t.held[:0]
	t.mode = searching
	s.unmuteAt(end)
}

// decode returns what a short string says that is written with escapes, and what the
// automaton reads of it. ok is false for characters outside ASCII in escapes.
func (t *text) decode(raw []byte) (says, reads []byte, ok bool) {
	says, reads = t.decoded[:0], t.stands[:0]
	for i := 0; i < len(raw); {
		end := bytes.IndexByte(raw[i:], '\\')
		if end < 0 {
			end = len(raw) - i
		}
		says, reads = append(says, raw[i:i+end]...), append(reads, raw[i:i+end]...)
		if i += end; i == len(raw) {
			break
		}
		c, size := jsonscan.ASCIIEscape(raw[i:])
		if size == 0 {
			return nil, nil, false
		}
		says, reads = append(says, c), append(reads, standIn(c))
		i += size
	}
	t.decoded, t.stands = says, reads
	return says, reads, true
}

// standIn is c, or for what stops the automaton something that it reads alike.
func standIn(c byte) byte {
	switch {
	case c == '\t' || c == '\n' || c == '\r':
		return ' '
	case jsonscan.Stops[c]:
		return 0x7f
	}
	return c
}

// escape takes an escape that ends before part[end].
func (s *scanner) escape(end int) {
	t := &s.text
	raw, r := s.json.Escape()
	decoded := t.letter[:utf8.EncodeRune(t.letter[:], r)]
	t.keepTail(decoded)
	if t.capturing {
		t.name.add(decoded)
	}
	if t.nested.on {
		if utf16.IsSurrogate(r) {
			decoded = raw // half a character, which a string of the inner document may have in this form
		}
		s.feedNested(raw, decoded, end)
	}
	s.character(byte(min(r, utf8.RuneSelf)), raw, end)
}
