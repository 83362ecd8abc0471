package command

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
)

// openTerminal returns both ends of a pseudo-terminal: what a person sees and types at, and
// what a program has as its standard input.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	master, err := syscall.Open("/dev/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var number, locked uint32
	control(t, uintptr(master), syscall.TIOCSPTLCK, unsafe.Pointer(&locked))
	control(t, uintptr(master), syscall.TIOCGPTN, unsafe.Pointer(&number))
	if err := syscall.SetNonblock(master, true); err != nil {
		t.Fatal(err)
	}
	person = os.NewFile(uintptr(master), "ptmx") // not blocking: reads end with the file
	if program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = program.Close(), person.Close() })
	return person, program
}

func control(t *testing.T, file, request uintptr, argument unsafe.Pointer) {
	t.Helper()
	if _, _, failed := syscall.Syscall(syscall.SYS_IOCTL, file, request, uintptr(argument)); failed != 0 {
		t.Fatal(failed)
	}
}

// echoes reports whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	var state syscall.Termios
	control(t, terminal.Fd(), syscall.TCGETS, unsafe.Pointer(&state))
	return state.Lflag&syscall.ECHO != 0
}

// The terminal shows the question and not the answer, and shows what is typed again
// afterwards, also if nothing was entered because the command was ended.
func TestACodeIsReadFromTheTerminalWithoutEcho(t *testing.T) {
	for _, ended := range []bool{false, true} {
		person, program := openTerminal(t)
		stdin := os.Stdin
		os.Stdin = program
		t.Cleanup(func() { os.Stdin = stdin })
		if !echoes(t, program) {
			t.Fatal("the terminal shows nothing from the start")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cmd := new(cobra.Command)
		cmd.SetContext(ctx)
		cmd.SetErr(program)
		type result struct {
			text string
			err  error
		}
		read := make(chan result, 1)
		go func() {
			text, err := readEntry(cmd, "Verification code of svc-mfa")
			read <- result{text, err}
		}()
		for echoes(t, program) && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if ended {
			cancel()
		} else if _, err := person.WriteString("493817\n"); err != nil {
			t.Fatal(err)
		}
		got := <-read
		if !ended && (got.text != "493817" || got.err != nil) || ended && got.err == nil {
			t.Errorf("ended %t: read %q, %v", ended, got.text, got.err)
		}
		if !echoes(t, program) {
			t.Errorf("ended %t: the terminal shows nothing afterwards", ended)
		}
		if ended {
			_, _ = person.WriteString("\n") // for the reading that has been left behind
			continue
		}
		var shown strings.Builder
		for text := make([]byte, 100); !strings.HasSuffix(shown.String(), ": \r\n"); {
			n, err := person.Read(text)
			if err != nil {
				t.Fatal(err)
			}
			shown.Write(text[:n])
		}
		if shown.String() != "Verification code of svc-mfa: \r\n" {
			t.Errorf("the terminal shows %q", shown.String())
		}
	}
}

// There is a warning only if the keyset is shown on a terminal: a pipe or a
// file is what a script wants.
func TestAKeysetOnATerminalIsWarnedOf(t *testing.T) {
	_, terminal := openTerminal(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for _, c := range []struct {
		out  *os.File
		args []string
		warn bool
	}{
		{terminal, nil, true}, {terminal, []string{"-"}, true}, {terminal, []string{filepath.Join(t.TempDir(), "key")}, false}, {file, nil, false},
	} {
		cmd := newKeygenCommand()
		var stderr strings.Builder
		cmd.SetOut(c.out)
		cmd.SetErr(&stderr)
		cmd.SetArgs(c.args)
		if err := cmd.Execute(); err != nil || (stderr.Len() > 0) != c.warn {
			t.Errorf("%s %q: %v, %q", c.out.Name(), c.args, err, stderr.String())
		}
	}
}
