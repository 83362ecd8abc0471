// Package logchain makes the lines of a log a hash chain with signed checkpoints, and
// verifies such logs.
//
// Each line gets a field at its end: the segment of the chain, its number in it, and the
// hash of the line before it.
//
//	… [Chain: 3q2-7wAAAAA.1042 n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg]
//
// A segment is what one process writes to one output. It begins with a signed line that
// names the last line that the output had before. Signed checkpoints follow, and a signed
// end:
//
//	[03.10.2022 11:48:31.999] <00> Info         Log chain checkpoint: time 2022-10-03T09:48:31.999Z, every 1000. Signature …. [Signed: 3q2-7wAAAAA.2001 …]
package logchain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// id identifies a segment of a chain.
type id [8]byte

func newID() (segment id) {
	_, _ = rand.Read(segment[:]) // never fails, see crypto/rand
	return segment
}

func (s id) String() string { return encoding.EncodeToString(s[:]) }

// digest is the hash of a line with its field and without its line end.
type digest [sha256.Size]byte

func (d digest) String() string { return encoding.EncodeToString(d[:]) }

// encoding is the one spelling of bytes: a text with other bits left over is refused.
var encoding = base64.RawURLEncoding.Strict()

// link is the place of a line in a chain.
type link struct {
	segment  id
	number   uint64 // from 1
	previous digest // the hash of the line before, zero for the first one
	signed   bool   // the line is signed
}

// The field of a signed line has another name: without it, such a line that was changed
// could be taken for a line that a checkpoint will follow.
const (
	fieldBegin       = " [Chain: "
	signedFieldBegin = " [Signed: "
	fieldEnd         = ']'

	idLength     = 11 // characters
	digestLength = 43
	numberLength = 19

	longestField = len(signedFieldBegin) + idLength + 1 + numberLength + 1 + digestLength + 1
)

func (l *link) appendTo(dst []byte) []byte {
	name := fieldBegin
	if l.signed {
		name = signedFieldBegin
	}
	dst = append(dst, name...)
	dst = encoding.AppendEncode(dst, l.segment[:])
	dst = strconv.AppendUint(append(dst, '.'), l.number, 10)
	dst = encoding.AppendEncode(append(dst, ' '), l.previous[:])
	return append(dst, fieldEnd)
}

// splitField splits a line without its line end into its text and its place in the chain.
func splitField(line []byte) (text []byte, l link, ok bool) {
	from := max(0, len(line)-longestField)
	name := fieldBegin
	at := bytes.LastIndex(line[from:], []byte(name))
	if at < 0 {
		name, l.signed = signedFieldBegin, true
		at = bytes.LastIndex(line[from:], []byte(name))
	}
	if at < 0 || line[len(line)-1] != fieldEnd {
		return line, link{}, false
	}
	field := string(line[from+at+len(name) : len(line)-1])
	place, previous, ok := strings.Cut(field, " ")
	if !ok || !decode(l.previous[:], previous) {
		return line, link{}, false
	}
	if l.segment, l.number, ok = parsePlace(place); !ok {
		return line, link{}, false
	}
	return line[:from+at], l, true
}

// parsePlace parses a segment and a number in it.
func parsePlace(text string) (segment id, number uint64, ok bool) {
	name, digits, ok := strings.Cut(text, ".")
	if !ok || len(digits) > numberLength || !decode(segment[:], name) {
		return id{}, 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || number == 0 || strconv.FormatUint(number, 10) != digits {
		return id{}, 0, false
	}
	return segment, number, true
}

// decode decodes text to exactly the bytes of dst.
func decode(dst []byte, text string) bool {
	if len(text) != encoding.EncodedLen(len(dst)) {
		return false
	}
	n, err := encoding.Decode(dst, []byte(text))
	return err == nil && n == len(dst)
}

// The kinds of signed lines.
const (
	begins     = "begins"
	checkpoint = "checkpoint"
	ends       = "ends"
)

// A signed line has the frame of all lines: the time of the line before, and a sentence.
const (
	stampLayout = "[02.01.2006 15:04:05.000]"
	head        = " <00> Info         Log chain "
	signature   = ". Signature "
	signed      = "veeam-auth log chain 1\n" // comes before what is signed
	format      = "format 1"

	// timeLayout is RFC 3339 in UTC, of one length.
	timeLayout = "2006-01-02T15:04:05.000Z"

	signatureLength = 86
)

// last is the last line with a place in a chain that an output has.
type last struct {
	known   bool
	segment id
	number  uint64
	hash    digest
	open    bool   // it has no line end
	torn    []byte // what stands behind it and is no complete line
}

// take makes a complete line the last one, if it has its place in a chain.
func (l *last) take(line []byte) bool {
	_, place, ok := splitField(line)
	if ok {
		*l = last{known: true, segment: place.segment, number: place.number, hash: sha256.Sum256(line)}
	}
	return ok
}

// leave is told what stands behind the last line and is no complete one.
func (l *last) leave(torn []byte) {
	if len(torn) <= maxTorn {
		l.torn = torn
	}
}

// position is where a line stands in a chain.
type position struct {
	segment id
	number  uint64
}

// statement is what a signed line says.
type statement struct {
	kind  string
	time  time.Time
	head  position          // the first line of the file; number 0 if that is not known
	every uint64            // how many lines a signed line follows at most
	key   ed25519.PublicKey // the others are of a begin
	of    string            // the output, for people
	after last

	incomplete int    // the length of what is torn, in bytes
	torn       digest // its hash
}

func (s *statement) appendTo(dst []byte) []byte {
	dst = append(append(dst, s.kind...), ": "...)
	if s.kind == begins {
		dst = append(dst, format+", "...)
	}
	dst = append(dst, "time "...)
	dst = s.time.UTC().AppendFormat(dst, timeLayout)
	dst = strconv.AppendUint(append(dst, ", every "...), s.every, 10)
	if s.head.number > 0 {
		dst = fmt.Appendf(dst, ", file begins with %s.%d", s.head.segment, s.head.number)
	}
	if s.kind != begins {
		return dst
	}
	dst = append(append(dst, ", key "...), PublicText(s.key)...)
	dst = append(dst, ", after "...)
	if s.after.known {
		dst = fmt.Appendf(dst, "%s.%d %s", s.after.segment, s.after.number, s.after.hash)
	} else {
		dst = append(dst, "nothing"...)
	}
	dst = append(dst, ", incomplete "...)
	if s.incomplete > 0 {
		dst = fmt.Appendf(dst, "%d %s", s.incomplete, s.torn)
	} else {
		dst = append(dst, '0')
	}
	dst = append(dst, ", of "...)
	return strconv.AppendQuoteToASCII(dst, s.of)
}

// parseStatement parses the text of a signed line. unsigned is what its signature is over.
func parseStatement(line, text []byte) (s statement, unsigned, sig []byte, ok bool) {
	if len(text) < len(stampLayout) || !bytes.HasPrefix(text[len(stampLayout):], []byte(head)) {
		return s, nil, nil, false
	}
	words := string(text[len(stampLayout)+len(head):])
	at := strings.LastIndex(words, signature)
	if at < 0 || len(words) != at+len(signature)+signatureLength+1 || words[len(words)-1] != '.' {
		return s, nil, nil, false
	}
	sig = make([]byte, ed25519.SignatureSize)
	if !decode(sig, words[at+len(signature):len(words)-1]) {
		return s, nil, nil, false
	}
	if s, ok = parseWords(words[:at]); !ok {
		return s, nil, nil, false
	}
	end := len(text) - 1
	unsigned = append([]byte(signed), line[:end-signatureLength]...)
	return s, append(unsigned, line[end:]...), sig, true
}

func parseWords(words string) (s statement, ok bool) {
	s.kind, words, ok = strings.Cut(words, ": ")
	if !ok {
		return s, false
	}
	switch s.kind {
	case begins:
		if words, ok = strings.CutPrefix(words, format+", "); !ok {
			return s, false
		}
		at := strings.Index(words, ", key ")
		if at < 0 || !s.parseBegin(words[at+len(", "):]) {
			return s, false
		}
		words = words[:at]
	case checkpoint, ends:
	default:
		return s, false
	}
	words, head, headed := strings.Cut(words, ", file begins with ")
	if headed {
		if s.head.segment, s.head.number, ok = parsePlace(head); !ok {
			return s, false
		}
	}
	stamp, every, _ := strings.Cut(words, ", every ")
	stamp, ok = strings.CutPrefix(stamp, "time ")
	if !ok {
		return s, false
	}
	var err, notTime error
	s.every, err = strconv.ParseUint(every, 10, 32)
	s.time, notTime = time.Parse(timeLayout, stamp)
	return s, err == nil && notTime == nil
}

// parseBegin parses "key …, after …, incomplete …, of …".
func (s *statement) parseBegin(words string) bool {
	parts := strings.SplitN(words, ", ", 4)
	if len(parts) != 4 {
		return false
	}
	for i, name := range [...]string{"key ", "after ", "incomplete ", "of "} {
		var ok bool
		if parts[i], ok = strings.CutPrefix(parts[i], name); !ok {
			return false
		}
	}
	s.key = make(ed25519.PublicKey, ed25519.PublicKeySize)
	of, err := strconv.Unquote(parts[3])
	s.of = of
	return err == nil && decode(s.key, parts[0]) && s.after.parse(parts[1]) && s.parseTorn(parts[2])
}

func (l *last) parse(text string) bool {
	if text == "nothing" {
		return true
	}
	place, hash, ok := strings.Cut(text, " ")
	if !ok || !decode(l.hash[:], hash) {
		return false
	}
	l.segment, l.number, l.known = parsePlace(place)
	return l.known
}

func (s *statement) parseTorn(text string) bool {
	if text == "0" {
		return true
	}
	size, hash, ok := strings.Cut(text, " ")
	n, err := strconv.ParseUint(size, 10, 31)
	s.incomplete = int(n)
	return ok && err == nil && n > 0 && strconv.FormatUint(n, 10) == size && decode(s.torn[:], hash)
}
