// What a verification has found.

package logchain

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Report is what a verification has found.
type Report struct {
	// Files are the files of the log, the oldest first.
	Files []string `json:"files"`

	// Lines is how many lines were read.
	Lines int `json:"lines"`

	// Findings are the faults, in the order of the files.
	Findings []Finding `json:"findings"`

	// More is how many further faults there are.
	More int `json:"more,omitempty"`

	// Notes are what people should know and is no fault.
	Notes []string `json:"notes"`

	// Segments are the parts of the log, one for each process that wrote it.
	Segments []Segment `json:"segments"`
}

// Segment is what one process has written.
type Segment struct {
	ID   string `json:"id"`
	Of   string `json:"of,omitempty"` // the output
	From Place  `json:"from"`

	// Begins is when it has begun; zero if that was not read.
	Begins time.Time `json:"begins,omitzero"`

	// First and Last are the numbers of its first and last line that were read.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`

	// Signatures is how many signed lines there are, and Proved the last line that one
	// of them, or the next segment, proves.
	Signatures int    `json:"signatures"`
	Proved     uint64 `json:"proved"`

	// Ended reports whether it has a signed end.
	Ended bool `json:"ended"`
}

func (s Segment) String() string {
	text := fmt.Sprintf("chain %s", s.ID)
	if s.Of != "" {
		text += " of " + strconv.Quote(s.Of)
	}
	if !s.Begins.IsZero() {
		text += " since " + s.Begins.Format(time.RFC3339)
	}
	text += fmt.Sprintf(": lines %d to %d, signed lines: %d, proved to line %d", s.First, s.Last, s.Signatures, s.Proved)
	if s.Ended {
		text += ", ended"
	}
	return text
}

// Whole reports whether nothing was found.
func (r *Report) Whole() bool { return len(r.Findings) == 0 }

// end ends the reading of a log.
func (v *Verifier) end() *Report {
	if v.half != nil {
		v.keep(*v.half)
	}
	v.drop()
	for i, s := range v.order {
		if len(s.tail) > 1 {
			for _, c := range s.tail[1:] {
				v.find(Added, c.Place, "the line has the number of another one, %d of the chain %s", s.number, s.id)
			}
		}
		for _, g := range s.missing {
			if g.from == g.to {
				v.find(Removed, g.before, "line %d of the chain %s is missing before this line", g.from, s.id)
			} else {
				v.find(Removed, g.before, "lines %d to %d of the chain %s are missing before this line", g.from, g.to, s.id)
			}
		}
		if i == 0 && s.begin != nil && s.begin.after.known && v.segments[s.begin.after.segment] != nil {
			v.find(Reordered, s.from, "the chain %s stands before the chain %s that it follows", s.id, s.begin.after.segment)
		}
		if s.proved < s.number {
			v.note("the chain %s: its last lines, %d to %d, are not proved by a checkpoint", s.id, max(s.proved+1, s.first), s.number)
		}
		v.report.Segments = append(v.report.Segments, s.summary())
	}
	v.compare()
	v.sort()
	return &v.report
}

func (s *segment) summary() Segment {
	sum := Segment{
		ID: s.id.String(), Of: s.of, From: s.from, First: s.first, Last: s.number,
		Signatures: s.signs, Proved: s.proved, Ended: s.ended,
	}
	if s.begin != nil {
		sum.Begins = s.begin.time
	}
	return sum
}

// sort sorts the findings by their places; files keep the order in which they were read.
func (v *Verifier) sort() {
	order := map[string]int{} // copies come first, with 0
	for i, name := range v.report.Files {
		order[name] = i + 1
	}
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
}
