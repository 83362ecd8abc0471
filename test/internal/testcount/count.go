// This file keeps the score: it follows the events of `go test -json` (see
// `go doc test2json`) and decides what counts once.

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of `go test -json`. Lines of the build carry ImportPath,
// those of a test run Package.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	FailedBuild string
	Elapsed     float64
}

// counter adds up leaves: a test with subtests counts only if it failed by
// itself, as its subtests are counted already. A package that fails without a
// failed test - it does not build, TestMain gave up - counts as one failure.
type counter struct {
	out    io.Writer
	noSkip bool

	passed, failed, skipped int

	failures []string // what failed and the first thing it said, to be said again at the end

	packages map[string]*packageRun
	builds   map[string]*strings.Builder
}

type packageRun struct {
	output                  strings.Builder
	tests                   map[string]*testRun
	passed, failed, skipped int
	started                 bool
}

type testRun struct {
	output      strings.Builder
	hasSubtests bool
	hasFailed   bool // a subtest of it has
}

func newCounter(out io.Writer, noSkip bool) *counter {
	return &counter{
		out:      out,
		noSkip:   noSkip,
		packages: make(map[string]*packageRun),
		builds:   make(map[string]*strings.Builder),
	}
}

// read takes events until the end. A line that is no event is shown as it is.
func (c *counter) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				c.add(e)
			} else {
				fmt.Fprintf(c.out, "%s\n", strings.TrimSuffix(string(line), "\n"))
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *counter) add(e event) {
	switch {
	case e.Action == "build-output":
		b := c.builds[e.ImportPath]
		if b == nil {
			b = new(strings.Builder)
			c.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
	case e.Package == "":
	case e.Test == "":
		c.addToPackage(c.packageRun(e.Package), e)
	default:
		c.addToTest(c.packageRun(e.Package), e)
	}
}

func (c *counter) addToPackage(p *packageRun, e event) {
	switch e.Action {
	case "start":
		p.started = true
	case "output":
		p.output.WriteString(e.Output)
	case "pass", "skip":
		delete(c.packages, e.Package)
		if tests := p.passed + p.failed + p.skipped; tests > 0 {
			fmt.Fprintf(c.out, "ok    %s  %d tests, %.1fs\n", e.Package, tests, e.Elapsed)
		}
	case "fail":
		c.packageFailed(p, e)
	}
}

// packageFailed also settles the tests that never said how they ended, which is
// what a panic, a fatal error or the time-out leaves behind.
func (c *counter) packageFailed(p *packageRun, e event) {
	for _, name := range slices.Sorted(maps.Keys(p.tests)) {
		t := p.tests[name]
		if t.hasSubtests {
			continue
		}
		c.fail(p)
		c.show("FAIL  "+e.Package+" "+name+" did not finish", t.output.String())
	}
	if p.failed == 0 {
		c.fail(p)
	}
	said := p.output.String()
	if b := c.builds[e.FailedBuild]; b != nil {
		said = b.String() + said
	}
	c.show(fmt.Sprintf("FAIL  %s  %d of %d, %.1fs", e.Package, p.failed, p.passed+p.failed+p.skipped, e.Elapsed), said)
	delete(c.packages, e.Package)
}

func (c *counter) addToTest(p *packageRun, e event) {
	t := p.tests[e.Test]
	if t == nil {
		t = new(testRun)
		p.tests[e.Test] = t
		if parent := p.parent(e.Test); parent != nil {
			parent.hasSubtests = true
		}
	}
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
		return
	case "pass":
		if !t.hasSubtests {
			c.passed++
			p.passed++
		}
	case "fail":
		if parent := p.parent(e.Test); parent != nil {
			parent.hasFailed = true
		}
		if !t.hasFailed {
			c.fail(p)
		}
		if said := withoutFrame(t.output.String()); said != "" || !t.hasFailed {
			c.show(fmt.Sprintf("FAIL  %s %s (%.1fs)", e.Package, e.Test, e.Elapsed), said)
		}
	case "skip":
		c.skip(p, e, strings.Join(strings.Fields(withoutFrame(t.output.String())), " "))
	default:
		return
	}
	delete(p.tests, e.Test)
}

func (c *counter) skip(p *packageRun, e event, reason string) {
	if c.noSkip {
		c.fail(p)
		c.show(fmt.Sprintf("FAIL  %s %s must not be skipped: %s", e.Package, e.Test, reason), "")
		return
	}
	c.skipped++
	p.skipped++
	fmt.Fprintf(c.out, "skip  %s %s: %s\n", e.Package, e.Test, reason)
}

func (c *counter) fail(p *packageRun) {
	c.failed++
	p.failed++
}

// again is how much of the first line of a failure is said again at the end.
const again = 300

func (c *counter) show(headline, output string) {
	fmt.Fprintln(c.out, headline)
	short := headline + "\n"
	if first, _, _ := strings.Cut(strings.TrimSpace(withoutFrame(output)), "\n"); first != "" {
		short += fmt.Sprintf("      %.*s\n", again, first)
	}
	c.failures = append(c.failures, short)
	for line := range strings.Lines(withoutFrame(output)) {
		fmt.Fprintf(c.out, "      %s\n", strings.TrimRight(line, "\n"))
	}
}

// commandFailed counts a failure of the command that no event explains, such as
// a package pattern that matches nothing.
func (c *counter) commandFailed(err error) {
	if c.failed == 0 {
		c.failed++
		fmt.Fprintf(c.out, "FAIL  %v\n", err)
	}
}

// finish settles the packages that were cut short, says again what has failed, and
// reports whether all is well.
func (c *counter) finish() bool {
	for _, name := range slices.Sorted(maps.Keys(c.packages)) {
		if p := c.packages[name]; p.started || len(p.tests) > 0 {
			c.packageFailed(p, event{Package: name})
		}
	}
	if len(c.failures) > 0 {
		fmt.Fprintf(c.out, "\nIn short:\n%s\n", strings.Join(c.failures, ""))
	}
	if c.passed == 0 && c.failed == 0 {
		fmt.Fprintln(c.out, "FAIL  no test ran")
	}
	return c.passed > 0 && c.failed == 0
}

func (c *counter) packageRun(name string) *packageRun {
	p := c.packages[name]
	if p == nil {
		p = &packageRun{tests: make(map[string]*testRun)}
		c.packages[name] = p
	}
	return p
}

// parent finds the running test of which name is a subtest. The name of a
// subtest may itself contain slashes, hence the search.
func (p *packageRun) parent(name string) *testRun {
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if t := p.tests[name[:i]]; t != nil {
			return t
		}
	}
	return nil
}

// withoutFrame drops the lines that the testing package prints around a test
// and `go test` around a package.
func withoutFrame(output string) string {
	var kept strings.Builder
	for line := range strings.Lines(output) {
		switch text := strings.TrimSpace(line); {
		case text == "", text == "FAIL", text == "PASS",
			strings.HasPrefix(line, "FAIL\t"), strings.HasPrefix(line, "ok  \t"),
			strings.HasPrefix(text, "=== "),
			strings.HasPrefix(text, "--- FAIL: "), strings.HasPrefix(text, "--- PASS: "), strings.HasPrefix(text, "--- SKIP: "):
		default:
			kept.WriteString(line)
		}
	}
	return kept.String()
}
