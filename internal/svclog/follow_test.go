// This file holds the tests of following a file that is still being written.
// Time is the test's own: nothing waits for a clock.

package svclog

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// following follows a new file and passes on its lines.
type following struct {
	t     *testing.T
	name  string
	lines chan string
}

func follow(ctx context.Context, t *testing.T, content string) *following {
	t.Helper()
	f := &following{t: t, name: filepath.Join(t.TempDir(), "Svc.ResAPI.log"), lines: make(chan string, 100)}
	f.write(content)
	follower, err := Follow(ctx, f.name)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.lines)
		defer follower.Close()
		in := bufio.NewReader(follower)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				f.lines <- line
			}
			if err != nil {
				if err != io.EOF {
					t.Error(err)
				}
				return
			}
		}
	}()
	return f
}

func (f *following) write(text string) {
	f.t.Helper()
	file, err := os.OpenFile(f.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		f.t.Fatal(err)
	}
}

// want waits for a few looks at the file and compares what came.
func (f *following) want(lines ...string) {
	f.t.Helper()
	time.Sleep(3 * followInterval)
	synctest.Wait()
	for _, want := range lines {
		select {
		case got := <-f.lines:
			if got != want {
				f.t.Errorf("%q, not %q", got, want)
			}
		default:
			f.t.Errorf("no line, not %q", want)
		}
	}
	select {
	case line, open := <-f.lines:
		if open {
			f.t.Errorf("one more line: %q", line)
		}
	default:
	}
}

func TestFollowReadsWhatIsAddedAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := follow(ctx, t, "a\nb\n")
		f.want("a\n", "b\n")
		f.write("c\nhal")
		f.want("c\n")
		f.write("f\n")
		f.want("half\n")
		f.write("left")
		f.want()
		cancel()
		f.want("left")
		if _, open := <-f.lines; open {
			t.Error("not ended")
		}
	})
}

func TestFollowGoesOnWithTheFileThatReplacesItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := follow(ctx, t, "a\n")
		f.want("a\n")
		if err := os.Rename(f.name, f.name+".1"); err != nil {
			t.Fatal(err)
		}
		f.want()
		f.write("b\n")
		f.want("b\n")

		// The last words of the old file come before the first of the new one.
		old := f.name
		f.write("c\n")
		if err := os.Rename(f.name, f.name+".2"); err != nil {
			t.Fatal(err)
		}
		f.name += ".2"
		f.write("d without an end")
		f.name = old
		f.write("e\n")
		f.want("c\n", "d without an end\n", "e\n")
		cancel()
		synctest.Wait()
	})
}

func TestFollowStartsOverWithATruncatedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := follow(ctx, t, "a long line\nhalf a li")
		f.want("a long line\n")
		if err := os.Truncate(f.name, 0); err != nil {
			t.Fatal(err)
		}
		f.write("b\n")
		f.want("half a li\n", "b\n")
		cancel()
		synctest.Wait()
	})
}

func TestFollowNeedsAFile(t *testing.T) {
	if _, err := Follow(t.Context(), filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Error(err)
	}
}
