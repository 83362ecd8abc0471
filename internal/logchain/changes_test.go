// Each change of a long log: the verification goes on from what it knows of the lines before,
// and stops at the first finding. Findings are never withdrawn.

package logchain

import (
	"bytes"
	"crypto/ed25519"
	"flag"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"testing"
)

// everyChange has every change of 10,000 lines tried, which takes some minutes.
var everyChange = flag.Bool("every-change", false, "try every removed, added and swapped line of 10,000, and every changed bit")

// feed reads the next line.
func (v *Verifier) feed(line []byte) {
	v.place.Line++
	v.report.Lines++
	text, complete := bytes.CutSuffix(line, []byte("\n"))
	if !complete {
		v.half = &unchained{v.place, bytes.Clone(line), false}
		return
	}
	v.line(text)
}

func (v *Verifier) clone() *Verifier {
	c := *v
	c.reported, c.signed = maps.Clone(v.reported), maps.Clone(v.signed)
	c.unchained = slices.Clone(v.unchained)
	c.report.Findings, c.report.Notes, c.report.Segments = slices.Clone(v.report.Findings), slices.Clone(v.report.Notes), slices.Clone(v.report.Segments)
	c.segments, c.order = make(map[id]*segment, len(v.segments)), make([]*segment, len(v.order))
	for i, s := range v.order {
		copied := *s
		copied.tail, copied.missing = slices.Clone(s.tail), slices.Clone(s.missing)
		c.segments[s.id], c.order[i] = &copied, &copied
	}
	return &c
}

// changes are those of a log that is read up to a line.
type changes struct {
	t      *testing.T
	before *Verifier
	lines  [][]byte // of the whole log
	at     int      // so many were read
	tried  int
}

// finds fails unless a change of the next two lines is found near its line.
func (c *changes) finds(what string, next ...[]byte) {
	c.t.Helper()
	c.tried++
	v := c.before.clone()
	read := func(text []byte) bool {
		for line := range bytes.Lines(text) {
			if v.feed(line); len(v.report.Findings) > 0 {
				return true
			}
		}
		return false
	}
	const few = 3 // lines are behind the change until it is found
	rest := c.lines[min(c.at+2, len(c.lines)):]
	near := min(few, len(rest))
	if !read(bytes.Join(append(next, rest[:near]...), nil)) && !read(bytes.Join(rest[near:], nil)) {
		v.end()
	}
	if !slices.ContainsFunc(v.report.Findings, func(f Finding) bool { return c.at <= f.Line && f.Line <= c.at+2 }) {
		c.t.Fatalf("%s at line %d: %v", what, c.at+1, v.report.Findings)
	}
}

// Without -every-change some lines, and one bit of each of them.
func TestInTenThousandLinesEveryChangeIsFound(t *testing.T) {
	t.Parallel()
	const n = 10_000
	lines := bytes.SplitAfter(writtenFile(t, n, DefaultEvery), []byte("\n"))
	lines = lines[:len(lines)-1] // behind the last line end
	random := mathrand.New(mathrand.NewPCG(1, 2))
	places := map[int]bool{0: true, 1: true, 1000: true, 1001: true, len(lines) - 2: true, len(lines) - 1: true}
	for range 20 {
		places[random.IntN(len(lines))] = true
	}
	c := &changes{t: t, before: NewVerifier(testKey.Public().(ed25519.PublicKey)), lines: lines}
	c.before.place, c.before.report.Files = Place{File: "log"}, []string{"log"}
	bits := 0
	for at, line := range lines {
		if c.at = at; *everyChange || places[at] {
			after := [][]byte{}
			if at+1 < len(lines) { // without the last line the log is a shorter one, see TestALogThatWasCutLacksACopy
				after = append(after, lines[at+1])
				c.finds("a removed line", after...)
				c.finds("swapped lines", after[0], line)
			}
			c.finds("an added line", slices.Concat([][]byte{[]byte(testLine(at)), line}, after)...)
			c.finds("a line twice", slices.Concat([][]byte{line, line}, after)...)
			changed := bytes.Clone(line)
			for bit := range 8 * len(line) {
				if !*everyChange && bit != at%(8*len(line)) {
					continue
				}
				changed[bit/8] ^= 1 << (bit % 8)
				c.finds(fmt.Sprintf("bit %d", bit), slices.Concat([][]byte{changed}, after)...)
				changed[bit/8] ^= 1 << (bit % 8)
				bits++
			}
		}
		c.before.feed(line)
	}
	if report := c.before.end(); !report.Whole() || report.Lines != len(lines) {
		t.Errorf("without a change: %+v", report)
	}
	t.Logf("%d lines: %d changes, %d of them of bits", len(lines), c.tried, bits)
}
