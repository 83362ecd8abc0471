// Secrets that a program prints.

package secretsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ExecOptions say which programs may be run, and how.
type ExecOptions struct {
	// Programs are absolute paths. Another program is not run. Required.
	Programs []string

	// Timeout is how long a program may run. Default: DefaultTimeout.
	Timeout time.Duration

	// MaxAge is how long its output is used again. Default: DefaultMaxAge.
	MaxAge time.Duration
}

// Exec runs programs that print a secret. There is no shell: a placeholder's words are the
// program and its arguments.
type Exec struct {
	programs []string
	timeout  time.Duration
	recent   recent[string]
}

// maxOutput is the maximum length of what a program prints, in bytes.
const maxOutput = 64 << 10

// waitDelay is how long the output of a program is waited for after it has ended: another
// process may have it open.
const waitDelay = time.Second

// NewExec returns an Exec. It returns an error for a path that is not absolute.
func NewExec(o ExecOptions) (*Exec, error) {
	if err := CheckTimes(o.Timeout, o.MaxAge); err != nil {
		return nil, err
	}
	if len(o.Programs) == 0 {
		return nil, errors.New("the paths of programs that may be run are missing")
	}
	e := &Exec{timeout: cmp.Or(o.Timeout, DefaultTimeout)}
	for _, program := range o.Programs {
		if !filepath.IsAbs(program) || filepath.Clean(program) != program || strings.ContainsAny(program, " \t") {
			return nil, fmt.Errorf("program %s: it must be an absolute path, without blanks", program)
		}
		e.programs = append(e.programs, program)
	}
	e.recent = recent[string]{maxAge: cmp.Or(o.MaxAge, DefaultMaxAge), timeout: e.timeout, read: e.run}
	return e, nil
}

// Read returns what the program of a command prints: its path and arguments, separated by
// blanks.
func (e *Exec) Read(command string) (string, error) { return e.recent.get(command) }

func (e *Exec) run(ctx context.Context, command string) (string, error) {
	words := strings.Fields(command)
	if len(words) == 0 || !slices.Contains(e.programs, words[0]) {
		return "", errors.New("exec of the global option veeam_secrets does not allow this program")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &limited{room: maxOutput, over: cancel}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...) //nolint:gosec // listed by the operator, and run without a shell
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, io.Discard, waitDelay
	ownGroup(cmd)
	err := cmd.Run()
	switch {
	case out.room < 0:
		return "", fmt.Errorf("the program prints more than %d KiB", maxOutput>>10)
	case errors.Is(err, exec.ErrWaitDelay):
		_ = endGroup(cmd)
		return "", passing{errors.New("the program has exited, but a child process keeps its output open")}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", passing{fmt.Errorf("the program did not end within %v", e.timeout)}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", passing{fmt.Errorf("the program failed, %s", exit.ProcessState)}
	}
	if err != nil {
		return "", fmt.Errorf("the program cannot be run: %w", withoutPath(err))
	}
	return string(out.text), nil
}

// withoutPath is the cause of an error of os/exec: the placeholder names the program.
func withoutPath(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// limited keeps what is written to it, up to a length.
type limited struct {
	text []byte
	room int    // negative if more was written
	over func() // ends the program
}

func (l *limited) Write(p []byte) (int, error) {
	if l.room -= len(p); l.room < 0 {
		l.text = nil
		l.over()
		return 0, io.ErrShortWrite
	}
	l.text = append(l.text, p...)
	return len(p), nil
}
