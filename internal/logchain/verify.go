// The verification of logs: what was changed, removed, added or reordered, and where.

package logchain

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
)

// Place is a line of a file, from 1.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Kind is the kind of a finding.
type Kind string

// Kinds of findings.
const (
	// Changed is a line that is not the one that was written.
	Changed Kind = "changed"

	// Removed are lines that are missing before a line.
	Removed Kind = "removed"

	// Added is a line that does not belong there.
	Added Kind = "added"

	// Reordered is a line that stands behind a later one.
	Reordered Kind = "reordered"

	// Incomplete is a last line without a line end, which nothing signed tells of.
	Incomplete Kind = "incomplete"

	// Unsigned is a signed line whose signature does not match the key.
	Unsigned Kind = "signature"
)

// Finding is a fault of a log.
type Finding struct {
	Kind Kind `json:"kind"`
	Place
	Text string `json:"text"`
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Place, f.Kind, f.Text) }

// maxFindings bounds how many findings are kept.
const maxFindings = 1000

// Verifier reads logs. Each log has its own chains.
type Verifier struct {
	keys   []ed25519.PublicKey
	report Report

	segments  map[id]*segment
	order     []*segment
	reported  map[Place]bool
	signed    map[position]digest // signed lines, if copies are compared
	expected  []expected
	unchained []unchained
	kept      int        // bytes of their texts
	place     Place      // of the line that is read
	first     position   // the first line of the log in a chain
	headed    bool       // a signed line has told what the first line is
	file      string     // of the place
	head      position   // the first line of the file in a chain
	half      *unchained // the last line of the file before, if it has no line end
}

// unchained is a line without a place in a chain.
type unchained struct {
	Place
	text     []byte
	complete bool
}

// segment is what was read of a segment.
type segment struct {
	id      id
	from    Place
	of      string
	first   uint64
	number  uint64 // of the last line
	tail    []candidate
	proved  uint64     // a signed line proves the lines up to here
	said    *statement // the last signed line
	signs   int
	ended   bool
	missing []gap
	begin   *statement
}

// candidate is a line with the number of the last one. There are several if one was added.
type candidate struct {
	Place
	hash digest
}

// gap are lines that are missing.
type gap struct {
	from, to uint64
	before   Place
}

// NewVerifier returns a Verifier that accepts the signatures of these keys.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier {
	return &Verifier{
		keys: keys, segments: map[id]*segment{}, reported: map[Place]bool{}, signed: map[position]digest{},
		report: Report{Files: []string{}, Findings: []Finding{}, Notes: []string{}, Segments: []Segment{}},
	}
}

// VerifyFile reads a log with all its rotated files. It is called once.
func (v *Verifier) VerifyFile(ctx context.Context, name string) (*Report, error) {
	names, files, err := openLog(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, file := range files {
			_ = file.Close() // was only read from
		}
	}()
	for i, file := range files {
		if err := v.read(ctx, names[i], file); err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return v.end(), nil
}

// Verify reads a log. It is called once.
func (v *Verifier) Verify(ctx context.Context, name string, r io.Reader) (*Report, error) {
	if err := v.read(ctx, name, r); err != nil {
		return nil, err
	}
	return v.end(), nil
}

// read reads the next file of the log.
func (v *Verifier) read(ctx context.Context, name string, r io.Reader) error {
	v.place = Place{File: name}
	v.report.Files = append(v.report.Files, name)
	err := lines(r, func(line []byte, complete bool) {
		if ctx.Err() != nil {
			return
		}
		v.place.Line++
		v.report.Lines++
		before := v.half
		v.half = nil
		switch {
		case before == nil:
		case v.place.Line == 1 && len(line) == 0 && complete: // ends the last line of the file before
			here := v.place
			v.place = before.Place
			v.line(before.text)
			v.place = here
			return
		default:
			v.keep(*before)
		}
		if complete {
			v.line(line)
		} else {
			v.half = &unchained{v.place, bytes.Clone(line), false}
		}
	})
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// keep keeps a line without a place in a chain until it is known what it is.
func (v *Verifier) keep(line unchained) {
	if v.kept += len(line.text); v.kept > 2*maxTorn || len(v.unchained) >= maxFindings {
		v.drop()
		v.kept = len(line.text)
	}
	v.unchained = append(v.unchained, line)
}

// drop finds the lines that were kept and turned out to be nothing else.
func (v *Verifier) drop() {
	v.blame(v.unchained, Added, "the line has no place in a chain")
	v.unchained, v.kept = v.unchained[:0], 0
}

func (v *Verifier) find(kind Kind, at Place, format string, args ...any) {
	if v.reported[at] && kind != Removed {
		return
	}
	if len(v.report.Findings) == maxFindings {
		v.report.More++
		return
	}
	v.reported[at] = true
	v.report.Findings = append(v.report.Findings, Finding{kind, at, fmt.Sprintf(format, args...)})
}

func (v *Verifier) note(format string, args ...any) {
	if len(v.report.Notes) < maxFindings {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
	}
}

// line reads one line that has a line end.
func (v *Verifier) line(line []byte) {
	text, l, ok := splitField(line)
	s := v.segments[l.segment]
	if !ok || s == nil && v.continues(l.previous) != nil {
		v.keep(unchained{v.place, bytes.Clone(line), true})
		return
	}
	var said *statement
	if l.signed {
		said = v.statement(line, text)
	}
	if s == nil {
		s = v.enter(&l, said)
	} else {
		v.advance(s, &l)
	}
	v.drop()
	v.begin(l, said)
	if s.ended && l.number > s.proved {
		v.find(Added, v.place, "the chain %s ended before this line", s.id)
	}
	if l.number < s.number {
		return
	}
	s.number = l.number
	s.tail = append(s.tail, candidate{v.place, sha256.Sum256(line)})
	switch {
	case said != nil:
		s.proved, s.said, s.ended = l.number, said, said.kind == ends
		s.signs++
		v.signed[position{l.segment, l.number}] = s.tail[len(s.tail)-1].hash
	case s.said != nil && l.number == s.proved+s.said.every+1:
		v.find(Unsigned, v.place, "more than %d lines of the chain %s stand before this line without a checkpoint", s.said.every, s.id)
	}
}

// begin compares the first lines of the log, and of this file, with what signed lines say.
func (v *Verifier) begin(l link, said *statement) {
	here := position{l.segment, l.number}
	if v.first.number == 0 {
		v.first = here
	}
	if v.file != v.place.File || v.head.number == 0 {
		v.file, v.head = v.place.File, here
		return // the signed line may have caused a rotation
	}
	if said == nil || said.head.number == 0 || v.headed {
		return
	}
	v.headed = true
	if said.head != v.first && (v.head == v.first || said.head != v.head) {
		v.find(Removed, Place{v.report.Files[0], 1}, "the beginning is missing: the file began with line %d of the chain %s", said.head.number, said.head.segment)
	}
}

// continues returns the segment whose last line has this hash.
func (v *Verifier) continues(hash digest) *segment {
	for _, s := range v.order {
		if s.last(hash) {
			return s
		}
	}
	return nil
}

// last reports whether the last line has this hash.
func (s *segment) last(hash digest) bool {
	return slices.ContainsFunc(s.tail, func(c candidate) bool { return c.hash == hash })
}

// blame finds the same of several lines.
func (v *Verifier) blame(lines []unchained, kind Kind, text string, args ...any) {
	for _, line := range lines {
		if !line.complete {
			v.find(Incomplete, line.Place, "the line is not complete: the process was killed, or the line was cut")
			continue
		}
		v.find(kind, line.Place, text, args...)
	}
}

// statement returns what a signed line says; nil if it is not signed with the key.
func (v *Verifier) statement(line, text []byte) *statement {
	s, unsigned, sig, ok := parseStatement(line, text)
	if !ok {
		v.find(Changed, v.place, "the signed line does not have its form")
		return nil
	}
	if !slices.ContainsFunc(v.keys, func(key ed25519.PublicKey) bool { return ed25519.Verify(key, unsigned, sig) }) {
		hint := "this line or lines since the last checkpoint were changed, or it was signed with another key"
		if s.kind == begins && !slices.ContainsFunc(v.keys, func(key ed25519.PublicKey) bool { return key.Equal(s.key) }) {
			hint = "it says that it was signed with the key " + PublicText(s.key)
		}
		v.find(Unsigned, v.place, "the signature does not match: %s", hint)
		return nil
	}
	return &s
}

// enter begins to read a segment.
func (v *Verifier) enter(l *link, said *statement) *segment {
	if said == nil && l.previous == (digest{}) {
		l.number = 1 // whatever it says
	}
	s := &segment{id: l.segment, from: v.place, first: l.number, number: l.number}
	oldest := len(v.order) == 0
	v.segments[l.segment] = s
	v.order = append(v.order, s)
	switch {
	case said != nil && said.kind == begins && l.number == 1 && l.previous == digest{}:
		s.of, s.begin = said.of, said
		v.forgive(said)
		v.follow(said, oldest)
	case l.number == 1:
		v.find(Unsigned, v.place, "the chain %s has no signed beginning", s.id)
	case !oldest:
		v.find(Removed, v.place, "lines 1 to %d of the chain %s are missing before this line", l.number-1, s.id)
	default:
		v.note("%s: the chain %s goes on here with its line %d: earlier lines are in files that are not there", v.place, s.id, l.number)
	}
	return s
}

// forgive takes away lines that a process could not complete, if the next one says so.
func (v *Verifier) forgive(said *statement) {
	if said.incomplete == 0 {
		return
	}
	var torn []byte
	for i := len(v.unchained) - 1; i >= 0 && len(torn) <= said.incomplete; i-- {
		line := v.unchained[i].text
		if i < len(v.unchained)-1 {
			line = append(append(bytes.Clone(line), '\n'), torn...)
		}
		torn = line
		if len(torn) == said.incomplete && sha256.Sum256(torn) == said.torn {
			v.note("%s: the line is not complete: the process was killed or could not write; the next line says so", v.unchained[i].Place)
			v.unchained = v.unchained[:i]
			return
		}
	}
	v.find(Changed, v.place, "an incomplete line before this line, of length %d, was removed or changed", said.incomplete)
}

// follow compares what a segment says of the line before it.
func (v *Verifier) follow(said *statement, oldest bool) {
	after := said.after
	if !after.known {
		return
	}
	before := v.segments[after.segment]
	switch {
	case before == nil && oldest:
		v.note("%s: the chain follows line %d of the chain %s, which is in files that are not there", v.place, after.number, after.segment)
	case before == nil:
		v.find(Removed, v.place, "the chain %s up to its line %d is missing before this line", after.segment, after.number)
	case before.number < after.number:
		v.find(Removed, v.place, "lines %d to %d of the chain %s are missing before this line", before.number+1, after.number, after.segment)
	case before.number == after.number:
		v.settle(before, after.hash)
		before.proved = max(before.proved, after.number)
	}
}

// advance compares a line with what was read of its segment.
func (v *Verifier) advance(s *segment, l *link) {
	if l.number != s.number+1 && s.last(l.previous) {
		v.find(Changed, v.place, "the line has the number %d in place of %d of the chain %s", l.number, s.number+1, s.id)
		l.number = s.number + 1
	}
	switch {
	case l.number == s.number+1:
		v.settle(s, l.previous)
	case l.number == s.number: // one of them was added
	case l.number < s.number:
		v.late(s, l.number)
	default:
		v.skip(s, l.number)
	}
}

// settle compares the last line of a segment with the hash that the next one has of it.
func (v *Verifier) settle(s *segment, hash digest) {
	genuine := slices.IndexFunc(s.tail, func(c candidate) bool { return c.hash == hash })
	for i, c := range s.tail {
		switch {
		case i == genuine:
		case genuine >= 0:
			v.find(Added, c.Place, "the line has the number of another one, %d of the chain %s", s.number, s.id)
		default:
			v.find(Changed, c.Place, "the line, or the hash of it in the next line of the chain, is not the one that was written")
		}
	}
	s.tail = s.tail[:0]
}

// late reads a line whose turn has passed.
func (v *Verifier) late(s *segment, number uint64) {
	for i, g := range s.missing {
		if number < g.from || number > g.to {
			continue
		}
		v.find(Reordered, v.place, "line %d of the chain %s stands behind its line %d", number, s.id, s.number)
		rest := s.missing[i+1:]
		s.missing = slices.Clone(s.missing[:i])
		for _, part := range [...]gap{{g.from, number - 1, g.before}, {number + 1, g.to, g.before}} {
			if part.from <= part.to {
				s.missing = append(s.missing, part)
			}
		}
		s.missing = append(s.missing, rest...)
		return
	}
	v.find(Added, v.place, "line %d of the chain %s is there a second time", number, s.id)
}

// skip reads a line before which others are missing. As many lines without a place in a
// chain are those, changed.
func (v *Verifier) skip(s *segment, number uint64) {
	from := s.number + 1
	if len(s.tail) > 1 {
		v.settle(s, digest{})
	}
	s.tail = s.tail[:0]
	changed := min(uint64(len(v.unchained)), number-from)
	v.blame(v.unchained[:changed], Changed, "the line does not have the place in the chain that it must have")
	v.unchained = v.unchained[changed:]
	if from += changed; from < number {
		s.missing = append(s.missing, gap{from, number - 1, v.place})
	}
}

// expected is a signed line of which there is a copy elsewhere.
type expected struct {
	Place
	position
	hash digest
	said *statement
}

// Expect reads copies of signed lines, which the log must have. It is called before the
// log is read.
func (v *Verifier) Expect(name string, r io.Reader) error {
	v.place = Place{File: name}
	defer func() { v.place = Place{} }()
	return lines(r, func(line []byte, complete bool) {
		v.place.Line++
		text, l, ok := splitField(line)
		if !ok || !complete || !l.signed {
			v.find(Changed, v.place, "the line is not a copy of a signed line")
			return
		}
		if said := v.statement(line, text); said != nil {
			v.expected = append(v.expected, expected{v.place, position{l.segment, l.number}, sha256.Sum256(line), said})
		}
	})
}

// compare looks for the lines that the log must have. Those of files that were deleted are
// older than the log.
func (v *Verifier) compare() {
	met := false
	older := 0
	for _, want := range v.expected {
		s := v.segments[want.segment]
		hash, ok := v.signed[want.position]
		switch {
		case ok && hash == want.hash:
			met = true
		case s != nil && want.number < s.first, s == nil && !met:
			older++
		default:
			met = true
			v.find(Removed, want.Place, "line %d of the chain %s, signed at %s, is not in the log: the log was cut or changed",
				want.number, want.segment, want.said.time.Format(timeLayout))
		}
	}
	if older > 0 && !met {
		v.find(Removed, v.expected[0].Place, "the log has none of the signed lines")
	} else if older > 0 {
		v.note("signed lines that are older than the log: %d", older)
	}
}
