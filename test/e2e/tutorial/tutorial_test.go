// Package tutorial types docs/tutorial.md into a shell, block by block, in a folder of its
// own. Only ports are others, so that several runs fit on one machine.
package tutorial

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// block is what is typed, and what the page shows of its output.
type block struct {
	line          int
	typed, output string
}

var (
	fenced = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")
	port   = regexp.MustCompile(`:(\d{4,5})\b`)
)

// read returns the blocks of the page. Text after a block of sh is its output.
func read(t *testing.T) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]string{}
	free := func(match string) string {
		if ports[match] == "" {
			found, err := harness.FreePorts(1)
			if err != nil {
				t.Fatal(err)
			}
			ports[match] = fmt.Sprintf(":%d", found[0])
		}
		return ports[match]
	}
	for _, at := range fenced.FindAllSubmatchIndex(text, -1) {
		content := port.ReplaceAllStringFunc(string(text[at[4]:at[5]]), free)
		if string(text[at[2]:at[3]]) == "sh" {
			blocks = append(blocks, block{1 + bytes.Count(text[:at[0]], []byte("\n")), content, ""})
			continue
		}
		if len(blocks) == 0 || blocks[len(blocks)-1].output != "" {
			t.Fatalf("an output without a block: %s", content)
		}
		blocks[len(blocks)-1].output = content
	}
	t.Setenv("CADDY_ADMIN", "127.0.0.1"+free(":2019")) // the default, which the page does not name
	return blocks
}

// pattern matches the lines of an output, in their order, perhaps with others between.
func pattern(output string) *regexp.Regexp {
	var lines []string
	for line := range strings.Lines(output) {
		line = regexp.QuoteMeta(strings.TrimRight(line, "\n"))
		lines = append(lines, "^"+strings.ReplaceAll(line, "…", ".*")+"$")
	}
	return regexp.MustCompile("(?ms)" + strings.ReplaceAll(strings.Join(lines, `\n(?:[^\n]*\n)*?`), ".*", "[^\n]*"))
}

func TestTheTutorialWorksAsItStands(t *testing.T) {
	for _, command := range []string{"bash", "curl", "prometheus", "promtool"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("there is no %s in PATH", command)
		}
	}
	blocks := read(t)
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} { // which lie in HOME
		value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, strings.TrimSpace(string(value)))
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("GOFLAGS", buildFlags())

	shell := exec.CommandContext(t.Context(), "bash", "--norc")
	shell.Dir = "../../.."
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var s harness.Output // what the shell and its programs have printed
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shell.Stdout, shell.Stderr = writer, writer
	stdin, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	go func() { _, _ = io.Copy(&s, reader) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // and all that it has started
		_ = shell.Wait()
		_ = reader.Close()
	})
	for i, b := range blocks {
		from, began := len(s.String()), time.Now()
		done := regexp.MustCompile(fmt.Sprintf(`(?m)^block %d has ended: (\d+)$`, i))
		// Beside the printed line an error of a single command would go unnoticed.
		if _, err := fmt.Fprintf(stdin, "set -e; trap 'echo \"block %d has ended: 1\"' EXIT\n%sset +e; echo; echo 'block %[1]d has ended: 0'\n", i, b.typed); err != nil {
			t.Fatal(err)
		}
		if !harness.Until(func() bool { return done.MatchString(s.String()[from:]) }) || done.FindStringSubmatch(s.String()[from:])[1] != "0" {
			t.Fatalf("docs/tutorial.md:%d: the block fails:\n%s\n%s", b.line, b.typed, s.String()[from:])
		}
		// Programs in the background may print later.
		if want := pattern(b.output); b.output != "" && !harness.Until(func() bool { return want.MatchString(s.String()[from:]) }) {
			t.Fatalf("docs/tutorial.md:%d: the page shows\n%s\nbut the output is\n%s", b.line, b.output, s.String()[from:])
		}
		t.Logf("docs/tutorial.md:%d took %v", b.line, time.Since(began).Round(100*time.Millisecond))
	}
	if left, err := filepath.Glob(home + "/veeam-tutorial"); err != nil || len(left) != 0 {
		t.Errorf("left over: %v (%v)", left, err)
	}
	if len(blocks) < 10 {
		t.Errorf("found %d blocks", len(blocks))
	}
}

// buildFlags lets the programs of the page use what was compiled for the tests.
func buildFlags() string {
	flags := "-buildvcs=false -ldflags=-w"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "-race" && setting.Value == "true" {
				flags += " -race"
			}
		}
	}
	return flags
}
