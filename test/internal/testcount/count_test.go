package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// score is what a stream of events must come to.
type score struct {
	passed, failed, skipped int
	ok                      bool
}

func TestEventsComeToTheRightScore(t *testing.T) {
	tests := []struct {
		name   string
		noSkip bool
		events []event
		want   score
		shown  []string
		hidden []string
	}{
		{
			name: "a passing test counts once",
			events: []event{
				{Action: "start", Package: "p"},
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "output", Package: "p", Test: "TestA", Output: "    a_test.go:1: chatter\n"},
				{Action: "pass", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p", Elapsed: 1.25},
			},
			want:   score{passed: 1, ok: true},
			shown:  []string{"ok    p  1 tests, 1.2s\n"},
			hidden: []string{"chatter"},
		},
		{
			name: "a test with subtests counts its subtests only",
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "run", Package: "p", Test: "TestA/one"},
				{Action: "run", Package: "p", Test: "TestA/POST_/api/token"},
				{Action: "pass", Package: "p", Test: "TestA/one"},
				{Action: "pass", Package: "p", Test: "TestA/POST_/api/token"},
				{Action: "pass", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p"},
			},
			want: score{passed: 2, ok: true},
		},
		{
			name: "a failed subtest does not count again for its parent",
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "run", Package: "p", Test: "TestA/one"},
				{Action: "output", Package: "p", Test: "TestA/one", Output: "=== RUN   TestA/one\n"},
				{Action: "output", Package: "p", Test: "TestA/one", Output: "    a_test.go:9: got 1, "},
				{Action: "output", Package: "p", Test: "TestA/one", Output: "want 2\n"},
				{Action: "output", Package: "p", Test: "TestA/one", Output: "    --- FAIL: TestA/one (0.00s)\n"},
				{Action: "fail", Package: "p", Test: "TestA/one"},
				{Action: "output", Package: "p", Test: "TestA", Output: "--- FAIL: TestA (0.00s)\n"},
				{Action: "fail", Package: "p", Test: "TestA"},
				{Action: "output", Package: "p", Output: "FAIL\tp\t0.1s\n"},
				{Action: "fail", Package: "p"},
			},
			want:   score{failed: 1},
			shown:  []string{"FAIL  p TestA/one", "a_test.go:9: got 1, want 2\n", "FAIL  p  1 of 1"},
			hidden: []string{"FAIL  p TestA (", "=== RUN", "--- FAIL"},
		},
		{
			name: "a test that fails after its subtests passed counts",
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "run", Package: "p", Test: "TestA/one"},
				{Action: "pass", Package: "p", Test: "TestA/one"},
				{Action: "output", Package: "p", Test: "TestA", Output: "    a_test.go:7: left over\n"},
				{Action: "fail", Package: "p", Test: "TestA"},
				{Action: "fail", Package: "p"},
			},
			want:  score{passed: 1, failed: 1},
			shown: []string{"FAIL  p TestA", "left over", "1 of 2"},
		},
		{
			name: "a skipped test shows its reason in one line",
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p", Test: "TestA"},
				{Action: "run", Package: "p", Test: "TestB"},
				{Action: "output", Package: "p", Test: "TestB", Output: "    b_test.go:3: no redis-server\n        in PATH\n"},
				{Action: "output", Package: "p", Test: "TestB", Output: "--- SKIP: TestB (0.00s)\n"},
				{Action: "skip", Package: "p", Test: "TestB"},
				{Action: "pass", Package: "p"},
			},
			want:  score{passed: 1, skipped: 1, ok: true},
			shown: []string{"skip  p TestB: b_test.go:3: no redis-server in PATH\n"},
		},
		{
			name:   "where everything is required a skipped test has failed",
			noSkip: true,
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p", Test: "TestA"},
				{Action: "run", Package: "p", Test: "TestB"},
				{Action: "output", Package: "p", Test: "TestB", Output: "no chromium\n"},
				{Action: "skip", Package: "p", Test: "TestB"},
				{Action: "pass", Package: "p"},
			},
			want:  score{passed: 1, failed: 1},
			shown: []string{"FAIL  p TestB must not be skipped: no chromium\n"},
		},
		{
			name: "only skipped tests is no test",
			events: []event{
				{Action: "run", Package: "p", Test: "TestB"},
				{Action: "skip", Package: "p", Test: "TestB"},
				{Action: "pass", Package: "p"},
			},
			want:  score{skipped: 1},
			shown: []string{"no test ran"},
		},
		{
			name:  "nothing at all is no test",
			want:  score{},
			shown: []string{"no test ran"},
		},
		{
			name: "a package without tests is silent",
			events: []event{
				{Action: "start", Package: "q"},
				{Action: "output", Package: "q", Output: "?   \tq\t[no test files]\n"},
				{Action: "skip", Package: "q"},
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p"},
			},
			want:   score{passed: 1, ok: true},
			hidden: []string{"q"},
		},
		{
			name: "a package that does not build is one failure with the compiler's words",
			events: []event{
				{Action: "build-output", ImportPath: "p [p.test]", Output: "# p\n"},
				{Action: "build-output", ImportPath: "p [p.test]", Output: "a.go:4:2: undefined: x\n"},
				{Action: "build-fail", ImportPath: "p [p.test]"},
				{Action: "start", Package: "p"},
				{Action: "output", Package: "p", Output: "FAIL\tp [build failed]\n"},
				{Action: "fail", Package: "p", FailedBuild: "p [p.test]"},
			},
			want:  score{failed: 1},
			shown: []string{"a.go:4:2: undefined: x\n"},
		},
		{
			name: "a package that fails after its tests passed is one failure",
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p", Test: "TestA"},
				{Action: "output", Package: "p", Output: "goleak: found unexpected goroutines\n"},
				{Action: "fail", Package: "p"},
			},
			want:  score{passed: 1, failed: 1},
			shown: []string{"goleak: found unexpected goroutines"},
		},
		{
			name: "tests that never ended have failed",
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "run", Package: "p", Test: "TestA/one"},
				{Action: "output", Package: "p", Test: "TestA/one", Output: "panic: test timed out after 5m\n"},
				{Action: "run", Package: "p", Test: "TestB"},
				{Action: "fail", Package: "p"},
			},
			want:  score{failed: 2},
			shown: []string{"TestA/one did not finish", "timed out after 5m", "TestB did not finish"},
		},
		{
			name: "a package that was cut short has failed",
			events: []event{
				{Action: "start", Package: "p"},
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "pass", Package: "p", Test: "TestA"},
			},
			want:  score{passed: 1, failed: 1},
			shown: []string{"FAIL  p  1 of 2"},
		},
		{
			name: "a paused test is not at its end",
			events: []event{
				{Action: "run", Package: "p", Test: "TestA"},
				{Action: "pause", Package: "p", Test: "TestA"},
				{Action: "cont", Package: "p", Test: "TestA"},
				{Action: "fail", Package: "p", Test: "TestA"},
				{Action: "fail", Package: "p"},
			},
			want: score{failed: 1},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stream, out strings.Builder
			for _, e := range test.events {
				line, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				stream.Write(append(line, '\n'))
			}
			c := newCounter(&out, test.noSkip)
			if err := c.read(strings.NewReader(stream.String())); err != nil {
				t.Fatal(err)
			}
			got := score{ok: c.finish()}
			got.passed, got.failed, got.skipped = c.passed, c.failed, c.skipped
			if got != test.want {
				t.Errorf("score %+v, want %+v; shown:\n%s", got, test.want, out.String())
			}
			for _, s := range test.shown {
				if !strings.Contains(out.String(), s) {
					t.Errorf("does not show %q:\n%s", s, out.String())
				}
			}
			for _, s := range test.hidden {
				if strings.Contains(out.String(), s) {
					t.Errorf("shows %q:\n%s", s, out.String())
				}
			}
		})
	}
}

func TestLinesThatAreNoEventsAreShown(t *testing.T) {
	var out strings.Builder
	c := newCounter(&out, false)
	if err := c.read(strings.NewReader("warning: something\n{\"but\": \"no action\"}\nno newline")); err != nil {
		t.Fatal(err)
	}
	if want := "warning: something\n{\"but\": \"no action\"}\nno newline\n"; out.String() != want {
		t.Errorf("shown %q, want %q", out.String(), want)
	}
}

// Who sees only the end of a long output finds there what has failed.
func TestFailuresAreSaidAgainAtTheEnd(t *testing.T) {
	var out strings.Builder
	c := newCounter(&out, true)
	for _, e := range []event{
		{Action: "run", Package: "p", Test: "TestA"},
		{Action: "output", Package: "p", Test: "TestA", Output: "    a_test.go:9: got 1\n" + strings.Repeat("a line of a log\n", 1000)},
		{Action: "fail", Package: "p", Test: "TestA"},
		{Action: "run", Package: "p", Test: "TestB"},
		{Action: "output", Package: "p", Test: "TestB", Output: "no chromium\n"},
		{Action: "skip", Package: "p", Test: "TestB"},
		{Action: "fail", Package: "p", Elapsed: 2},
	} {
		c.add(e)
	}
	if c.finish() {
		t.Error("all is well")
	}
	const want = "\nIn short:\n" +
		"FAIL  p TestA (0.0s)\n      a_test.go:9: got 1\n" +
		"FAIL  p TestB must not be skipped: no chromium\n" +
		"FAIL  p  2 of 2, 2.0s\n\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("the end is not %q:\n%s", want, out.String()[max(0, out.Len()-500):])
	}
}

func TestACommandThatFailsWithoutAnEventIsAFailure(t *testing.T) {
	var out strings.Builder
	c := newCounter(&out, false)
	c.commandFailed(errors.New("exit status 1"))
	c.commandFailed(errors.New("exit status 1"))
	if c.failed != 1 || c.finish() {
		t.Errorf("%d failures, want 1", c.failed)
	}
}

// The events above are written by hand; here the real go test writes them, for
// a module that does everything at once.
func TestARealRunIsCountedAndJudged(t *testing.T) {
	const module = "module example.org/m\n\ngo 1.26\n"
	const good = `package m
import ("fmt"; "testing")
func TestGood(t *testing.T) { t.Run("a/b", func(*testing.T) {}); t.Run("c", func(*testing.T) {}) }
func Example() {
	fmt.Println("said")
	// Output: said
}
`
	const bad = `package m
import "testing"
func TestBad(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Error("canary of the failure") }) }
func TestSkipped(t *testing.T) { t.Skip("canary of the skip") }
func TestPanics(t *testing.T) { panic("canary of the panic") }
`
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "testcount")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	runIn := func(args ...string) (string, error) {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	command := []string{"go", "test", "-json", "./..."}

	write("go.mod", module)
	write("m_test.go", good)
	out, err := runIn(append([]string{"-passed", "4"}, command...)...)
	if err != nil || !strings.HasSuffix(out, "\n7 passed, 0 failed, 0 skipped\n") {
		t.Errorf("good tests: %v\n%s", err, out)
	}
	if out, err := runIn(append([]string{"-failed", "1"}, command...)...); err == nil ||
		!strings.HasSuffix(out, "\n3 passed, 1 failed, 0 skipped\n") {
		t.Errorf("good tests after a failed check: %v\n%s", err, out)
	}

	write("bad/m_test.go", bad)
	write("broken/m_test.go", "package m\nvar x = undefinedCanary\n")
	out, err = runIn(command...)
	if err == nil || !strings.HasSuffix(out, "\n3 passed, 3 failed, 1 skipped\n") {
		t.Errorf("bad tests: %v\n%s", err, out)
	}
	for _, s := range []string{"canary of the failure", "canary of the skip", "canary of the panic", "undefinedCanary"} {
		if !strings.Contains(out, s) {
			t.Errorf("does not show %q:\n%s", s, out)
		}
	}

	out, err = runIn("go", "test", "-json", "./nowhere")
	if err == nil || !strings.HasSuffix(out, "\n0 passed, 1 failed, 0 skipped\n") {
		t.Errorf("no such package: %v\n%s", err, out)
	}
	out, err = runIn("no-such-command")
	if err == nil || !strings.HasSuffix(out, "\n0 passed, 1 failed, 0 skipped\n") {
		t.Errorf("no such command: %v\n%s", err, out)
	}
}
