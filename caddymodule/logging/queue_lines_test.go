// The queue before a sink that is quick, slow, blocked, failing or removed.

package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-veeam/veeam-auth/internal/logerrors"
)

// gate is a sink that can be stopped.
type gate struct {
	mu       sync.Mutex
	stopped  chan struct{} // nil: open
	taken    []string
	err      error
	closed   int
	hardStop bool // Close does not end a write
}

func (g *gate) stop() { g.mu.Lock(); g.stopped = make(chan struct{}); g.mu.Unlock() }
func (g *gate) goOn() { g.mu.Lock(); close(g.stopped); g.stopped = nil; g.mu.Unlock() }
func (g *gate) fail(err error) {
	g.mu.Lock()
	g.err = err
	g.mu.Unlock()
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	stopped := g.stopped
	g.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	g.taken = append(g.taken, string(p))
	return len(p), nil
}

func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed++; g.stopped != nil && !g.hardStop {
		g.err = os.ErrClosed
		close(g.stopped)
		g.stopped = nil
	}
	return nil
}

func (g *gate) got() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.taken, "")
}

// reports keeps what is reported on standard error.
type reports struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *reports) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

// lines gives what was reported since the last call, without times.
func (r *reports) lines() (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.buf.String()) {
		_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " veeam_auth: ")
		lines = append(lines, text)
	}
	r.buf.Reset()
	return lines
}

func (r *reports) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := r.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("reported %q, want %q", got, want)
	}
}

func startQueue(n int, sink io.WriteCloser) (*lineQueue, *reports) {
	out := new(reports)
	q := newLineQueue(n, "svc.log", sink)
	q.failures = &logerrors.Reporter{Out: out}
	go q.drain()
	return q, out
}

// put writes lines from…to out of the same memory, as zap does.
func put(t *testing.T, q *lineQueue, from, to int) {
	t.Helper()
	var line []byte
	for i := from; i <= to; i++ {
		line = fmt.Appendf(line[:0], "%d ", i)
		if n, err := q.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
}

func TestAQueueHandsEveryLineOnInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		q, out := startQueue(8, g)
		put(t, q, 1, 3)
		synctest.Wait()
		put(t, q, 4, 11)
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if g.got() != "1 2 3 4 5 6 7 8 9 10 11 " || g.closed != 1 {
			t.Errorf("%q, closed %d times", g.got(), g.closed)
		}
		if _, err := q.Write([]byte("12")); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		if err := q.Close(); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		out.expect(t)
	})
}

// A file takes what waits in one call. Other sinks, such as datagrams and hash chains, get
// each line by itself.
func TestAStreamTakesAllLinesThatWaitAtOnce(t *testing.T) {
	for _, stream := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{}
			q, out := startQueue(1000, g)
			q.stream = stream
			g.stop()
			put(t, q, 1, 1)
			synctest.Wait() // the first is being written
			put(t, q, 2, 5)
			long := strings.Repeat("x", queueTogether-len("2 3 4 5 ")-1)
			for _, line := range []string{long, "a", "b", long + long + long, "c"} {
				if _, err := q.Write([]byte(line)); err != nil {
					t.Fatal(err)
				}
			}
			g.goOn()
			synctest.Wait()
			want := []string{"1 ", "2 ", "3 ", "4 ", "5 ", long, "a", "b", long + long + long, "c"}
			if stream {
				want = []string{"1 ", "2 3 4 5 " + long + "a", "b", long + long + long, "c"}
			}
			if !slices.Equal(g.taken, want) {
				t.Errorf("stream %t: writes of %d bytes, want %d", stream, lengths(g.taken), lengths(want))
			}
			if q.waiting != 0 || q.bytes != 0 {
				t.Errorf("stream %t: %d lines wait, %d bytes", stream, q.waiting, q.bytes)
			}
			g.fail(errors.New("no space left on device"))
			put(t, q, 1, 50)
			synctest.Wait()
			time.Sleep(logerrors.Interval)
			synctest.Wait()
			out.expect(t, "a log cannot be written, requests are served without: no space left on device",
				"a log could still not be written, failures in the last 10m0s: 49, the last one: no space left on device")
			g.fail(nil)
			g.stop()
			put(t, q, 1, 1)
			synctest.Wait()
			put(t, q, 2, 8)
			_ = q.Close()
			out.expect(t, "the log svc.log was closed, lines dropped: 8")
			time.Sleep(logerrors.Interval)
		})
	}
}

// fullDisk takes some bytes, and no more.
type fullDisk struct{ room int }

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func (*fullDisk) Close() error { return nil }

// Of the lines of one write, those that were written are no failures.
func TestOnlyLinesThatWereNotWrittenAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := new(reports)
		q := newLineQueue(100, "svc.log", &fullDisk{room: len("1 2 3 ") + 1})
		q.stream, q.failures = true, &logerrors.Reporter{Out: out}
		put(t, q, 1, 9)
		go q.drain()
		synctest.Wait()
		_ = q.Close()
		time.Sleep(logerrors.Interval)
		synctest.Wait()
		out.expect(t, "a log cannot be written, requests are served without: no space left on device",
			"a log could still not be written, failures in the last 10m0s: 5, the last one: no space left on device")
		time.Sleep(logerrors.Interval)
	})
}

func lengths(texts []string) (all []int) {
	for _, text := range texts {
		all = append(all, len(text))
	}
	return all
}

// Lines are neither lost, mixed nor reordered, whenever they come.
func TestAStreamWritesEveryLineOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	file := filepath.Join(t.TempDir(), "svc.log")
	sink, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	q, out := startQueue(1<<20, sink)
	q.stream = true
	const writers, lines = 8, 2000
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			var line []byte
			for i := range lines {
				line = fmt.Appendf(line[:0], "%d %d %s\n", w, i, strings.Repeat("x", i%300))
				if _, err := q.Write(line); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var next [writers]int
	for line := range strings.Lines(string(data)) {
		var w, i int
		var rest string
		if n, _ := fmt.Sscanf(line, "%d %d %s", &w, &i, &rest); n < 2 || i != next[w] || len(rest) != i%300 {
			t.Fatalf("%q, want line %d", line, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != lines {
			t.Errorf("writer %d: %d lines", w, n)
		}
	}
	out.expect(t)
}

func TestAQueueDropsWhatABlockedSinkDoesNotTakeAndSaysSoTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		q, out := startQueue(3, g)
		g.stop()
		put(t, q, 1, 1)
		synctest.Wait() // the first is being written
		begun := time.Now()
		put(t, q, 2, 1000)
		if took := time.Since(begun); took > 0 {
			t.Errorf("writers waited for %v", took)
		}
		synctest.Wait()
		out.expect(t, "the log svc.log cannot keep up: 4 lines are queued, further lines are dropped")

		time.Sleep(time.Hour)
		put(t, q, 1001, 1001)
		out.expect(t)

		g.goOn()
		synctest.Wait()
		put(t, q, 1002, 1002)
		time.Sleep(2 * queueCalm)
		out.expect(t, "the log svc.log is written again, lines dropped: 997")
		if g.got() != "1 2 3 4 1002 " {
			t.Errorf("%q", g.got())
		}

		g.stop()
		put(t, q, 1, 1)
		synctest.Wait()
		put(t, q, 2, 5)
		synctest.Wait()
		out.expect(t, "the log svc.log cannot keep up: 4 lines are queued, further lines are dropped")
		g.goOn()
		_ = q.Close()
		out.expect(t, "the log svc.log was closed, lines dropped: 1")
	})
}

// A sink that is always a little too slow is one failure, not one at every turn.
func TestAQueueBeforeASlowSinkIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, out := startQueue(2, slowSink{100 * time.Millisecond})
		for range 600 {
			put(t, q, 1, 1)
			time.Sleep(95 * time.Millisecond)
		}
		_ = q.Close()
		synctest.Wait()
		lines := out.lines()
		if len(lines) != 2 || !strings.Contains(lines[0], "cannot keep up") || !strings.Contains(lines[1], "was closed") {
			t.Errorf("%q", lines)
		}
	})
}

type slowSink struct{ pause time.Duration }

func (s slowSink) Write(p []byte) (int, error) { time.Sleep(s.pause); return len(p), nil }
func (slowSink) Close() error                  { return nil }

func TestAQueueIsBoundedInBytesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.stop()
		q, out := startQueue(1000, g)
		line := make([]byte, queueBytes/10)
		for range 12 {
			if _, err := q.Write(line); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		out.expect(t, "the log svc.log cannot keep up: 10 lines are queued, further lines are dropped")
		g.goOn()
		_ = q.Close()
		if len(g.taken) != 10 {
			t.Errorf("%d lines written", len(g.taken))
		}
	})
}

func TestClosingAQueueWaitsFiveSecondsAtMost(t *testing.T) {
	for _, hard := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{hardStop: hard}
			g.stop()
			q, out := startQueue(10, g)
			put(t, q, 1, 7)
			begun := time.Now()
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took != queueClose {
				t.Errorf("took %v", took)
			}
			out.expect(t, "the log svc.log was closed, lines dropped: 7")
			synctest.Wait()
			if hard {
				g.goOn() // as the reader of a pipe may
			}
			<-q.done
			if got := g.got(); hard != (got == "1 ") {
				t.Errorf("%q was written after the end", got)
			}
			time.Sleep(logerrors.Interval)
		})
	}
}

func TestTheEndOfCaddyWaitsForWhatIsInQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open, shut := &gate{}, &gate{}
		quick, quickOut := startQueue(10, open)
		stuck, stuckOut := startQueue(10, shut)
		idle, idleOut := startQueue(10, &gate{})
		for _, q := range []*lineQueue{quick, stuck, idle} {
			openQueues.Store(q, nil)
		}
		open.stop()
		shut.stop()
		put(t, quick, 1, 5)
		put(t, stuck, 1, 5)
		time.AfterFunc(time.Second, open.goOn)
		begun := time.Now()
		flushQueues(t.Context())
		if took := time.Since(begun); took != queueClose {
			t.Errorf("took %v", took)
		}
		quickOut.expect(t)
		idleOut.expect(t)
		stuckOut.expect(t, "the log svc.log was closed, lines dropped: 5")
		put(t, quick, 6, 6)
		for _, q := range []*lineQueue{quick, idle, stuck} {
			_ = q.Close()
		}
		if open.got() != "1 2 3 4 5 6 " {
			t.Errorf("%q", open.got())
		}
		openQueues.Range(func(q, _ any) bool {
			t.Errorf("still known: %v", q)
			return true
		})
	})
}

func TestAQueueTellsOnceThatItsSinkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		q, out := startQueue(100, g)
		g.fail(errors.New("no space left on device"))
		put(t, q, 1, 50)
		synctest.Wait()
		out.expect(t, "a log cannot be written, requests are served without: no space left on device")
		g.fail(nil)
		put(t, q, 51, 52)
		_ = q.Close()
		if g.got() != "51 52 " {
			t.Errorf("%q", g.got())
		}
		time.Sleep(logerrors.Interval)
		synctest.Wait()
		out.expect(t, "a log could still not be written, failures in the last 10m0s: 49, the last one: no space left on device")
		time.Sleep(logerrors.Interval)
		synctest.Wait()
	})
}

func TestAQueueMakesARemovedFileAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "svc.log")
		open := func() (io.WriteCloser, error) {
			return os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		}
		sink, err := open()
		if err != nil {
			t.Fatal(err)
		}
		out := new(reports)
		q := newLineQueue(10, file, sink)
		q.failures = &logerrors.Reporter{Out: out}
		broken := false
		q.file, q.reopen = file, func() (io.WriteCloser, error) {
			if broken {
				return nil, os.ErrPermission
			}
			return open()
		}
		go q.drain()

		put(t, q, 1, 2)
		synctest.Wait()
		_ = os.Remove(file)
		time.Sleep(queueLook)
		put(t, q, 3, 4)
		synctest.Wait()
		out.expect(t, "a log cannot be written, requests are served without: "+file+" was removed and is created again")
		if text, err := os.ReadFile(file); err != nil || string(text) != "3 4 " {
			t.Errorf("%q %v", text, err)
		}

		broken = true
		_ = os.Remove(file)
		time.Sleep(queueLook)
		put(t, q, 5, 5)
		time.Sleep(logerrors.Interval)
		synctest.Wait()
		out.expect(t, "a log could still not be written, failures in the last 10m0s: 1, the last one: permission denied")
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(logerrors.Interval)
		synctest.Wait()
	})
}

func TestAQueueTakesLinesFromManyWritersAndLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	g := &gate{}
	q, _ := startQueue(50, g)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 500 {
				_, _ = q.Write([]byte("x"))
			}
		})
	}
	writers.Wait()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	// Close has told what was dropped and has not reset it.
	if n := len(g.got()) + q.dropped; n != 4000 || q.waiting != 0 || q.bytes != 0 {
		t.Errorf("%d lines accounted for, %d wait with %d bytes", n, q.waiting, q.bytes)
	}
	goleak.VerifyNone(t, before)
}
