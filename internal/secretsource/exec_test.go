//go:build unix

// The tests of secrets that a program prints.

package secretsource

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// shell is the program of the tests: one that was just written may be busy.
const shell = "/bin/sh"

// script writes a script, and returns the command that runs it.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return shell + " " + name
}

func newExec(t *testing.T, o ExecOptions) *Exec {
	t.Helper()
	e, err := NewExec(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAProgramPrintsASecretWithoutAShell(t *testing.T) {
	command := script(t, `printf '%s|' "$@"; cat; echo no secret >&2`)
	got, err := newExec(t, ExecOptions{Programs: []string{shell}}).Read(command + "  show  $HOME;ls *")
	if err != nil || got != "show|$HOME;ls|*|" {
		t.Errorf("%q %v", got, err)
	}
}

func TestAProgramIsRunOnlyIfItIsAllowed(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	e := newExec(t, ExecOptions{Programs: []string{"/bin/true"}})
	for _, command := range []string{script(t, "touch "+marker), "/bin/../bin/true", "true", "", " ", "./bin/true", "/bin/truex", "/BIN/TRUE"} {
		if got, err := e.Read(command); err == nil || got != "" {
			t.Errorf("%q: %q", command, got)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program that is not allowed was run")
	}
	for _, programs := range [][]string{nil, {"program"}, {"/a/../b"}, {"/a b"}} {
		if _, err := NewExec(ExecOptions{Programs: programs}); err == nil {
			t.Errorf("%q is accepted", programs)
		}
	}
}

// No error repeats what a program prints.
func TestAProgramThatFailsIsAnErrorWithoutItsOutput(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"echo hunter2; echo hunter2 >&2; exit 3": "exit status 3",
		"echo hunter2; kill -9 $$":               "killed",
		"echo hunter2; exec sleep 600":           "did not end within",
		"echo hunter2; sleep 600 & sleep 600":    "did not end within",
		"while true; do echo hunter2; done":      "more than 64 KiB",
		"head -c 65537 /dev/zero":                "more than 64 KiB",
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			program := script(t, text)
			limit := DefaultTimeout
			if strings.Contains(text, "sleep") {
				limit = 200 * time.Millisecond
			}
			got, err := newExec(t, ExecOptions{Programs: []string{shell}, Timeout: limit}).Read(program)
			if err == nil || got != "" || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q %v", got, err)
			}
			if strings.Contains(says, "did not") && !errors.Is(err, secret.ErrUnavailable) {
				t.Errorf("%v does not pass by itself", err)
			}
		})
	}
	gone := filepath.Join(t.TempDir(), "gone")
	if _, err := newExec(t, ExecOptions{Programs: []string{gone}}).Read(gone); err == nil || strings.Contains(err.Error(), gone) {
		t.Error(err)
	}
}

// The output is used again until a login is refused, and no longer than max_age.
func TestAProgramIsRunAgainAfterARefusal(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	program := script(t, fmt.Sprintf("echo x >> %s; wc -l < %s | tr -d ' '", count, count))
	e := newExec(t, ExecOptions{Programs: []string{shell}, MaxAge: time.Hour})
	read := func(want string) {
		t.Helper()
		if got, err := e.Read(program); err != nil || strings.TrimSpace(got) != want {
			t.Errorf("%q %v, want %s", got, err, want)
		}
	}
	read("1")
	read("1")
	secret.Refused()
	read("2")
	read("2")
	e.recent.entries[program].at = time.Now().Add(-time.Hour)
	read("3")
}

// A program that ends, and leaves another behind that has its output open, fails, and
// leaves nothing running: otherwise each read would leave one more.
func TestNothingIsLeftOfAProgramThatFails(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	program := script(t, "sleep 600 & echo $! > "+pid+"; echo hunter2")
	if got, err := newExec(t, ExecOptions{Programs: []string{shell}}).Read(program); err == nil || got != "" || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "a child process keeps its output open") {
		t.Errorf("%q %v", got, err)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	left, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 600 { // init takes it away in its own time
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", left)) // on Linux
		if syscall.Kill(left, 0) != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = syscall.Kill(left, syscall.SIGKILL)
	t.Error("what the program has started goes on")
}
