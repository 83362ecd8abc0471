// The tests of the writer: what comes out of it is whole, whatever happens to the process
// and its output.

package logchain

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// sink is an output in memory. It takes up to room bytes, if that is not negative.
type sink struct {
	bytes.Buffer
	room   int
	closed bool
}

var errFull = errors.New("no space left on device")

func newSink() *sink { return &sink{room: -1} }

func (s *sink) Write(p []byte) (int, error) {
	if s.room < 0 || len(p) <= s.room {
		if s.room >= 0 {
			s.room -= len(p)
		}
		return s.Buffer.Write(p)
	}
	n, _ := s.Buffer.Write(p[:s.room])
	s.room = 0
	return n, errFull
}

func (s *sink) Close() error {
	s.closed = true
	return nil
}

// testLine is a line as the encoder writes it.
func testLine(i int) string {
	return fmt.Sprintf("[03.10.2022 11:48:%02d.%03d] <%02d> Info         [GET /api/v1/jobs?skip=%d]: [200] \n", i/1000%60, i%1000, i%90+1, i)
}

// write has a chain write lines.
func write(t testing.TB, w *Writer, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if n, err := w.Write([]byte(testLine(i))); err != nil || n != len(testLine(i)) {
			t.Fatal(n, err)
		}
	}
}

// written is a whole log of n lines.
func written(t testing.TB, n, every int) []byte {
	t.Helper()
	out := newSink()
	w := NewWriter(out, Options{Key: testKey, Every: every, Interval: time.Hour, Of: "test"})
	write(t, w, 0, n)
	if err := w.Close(); err != nil || !out.closed {
		t.Fatal(err)
	}
	return out.Bytes()
}

// writtenFile is the content of a file with a whole log of n lines.
func writtenFile(t testing.TB, n, every int) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(file, Options{Key: testKey, Every: every, Interval: time.Hour, Of: "test", File: name})
	write(t, w, 0, n)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// verify returns the report on a log.
func verify(t testing.TB, log []byte) *Report {
	t.Helper()
	report, err := NewVerifier(testKey.Public().(ed25519.PublicKey)).Verify(t.Context(), "log", bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func verifyFile(t testing.TB, name string) *Report {
	t.Helper()
	report, err := NewVerifier(testKey.Public().(ed25519.PublicKey)).VerifyFile(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestTheLinesStayAsTheyAreButForAFieldAtTheirEnd(t *testing.T) {
	log := written(t, 25, 10)
	var rest strings.Builder
	signs := 0
	for line := range bytes.Lines(log) {
		text, place, ok := splitField(bytes.TrimSuffix(line, []byte("\n")))
		if !ok {
			t.Fatalf("a line has no field: %s", line)
		}
		if place.signed {
			signs++
			continue
		}
		rest.WriteString(string(text) + "\n")
	}
	want := ""
	for i := range 25 {
		want += testLine(i)
	}
	if rest.String() != want || signs != 4 { // begins, two checkpoints, ends
		t.Errorf("%d signed lines in\n%s", signs, log)
	}
	if report := verify(t, log); !report.Whole() || len(report.Notes) > 0 || report.Lines != 29 {
		t.Errorf("%+v", report)
	}
}

func TestALogThatManyWriteAtOnceIsWhole(t *testing.T) {
	out := newSink()
	w := NewWriter(out, Options{Key: testKey, Every: 7})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 100 {
				if _, err := w.Write([]byte(testLine(i) + testLine(i+1) + "no line end")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	report := verify(t, out.Bytes())
	if !report.Whole() || len(report.Segments) != 1 || report.Lines != 2400+2400/7+2 || !report.Segments[0].Ended {
		t.Errorf("%+v", report)
	}
}

func TestALineWaitsForACheckpointNoLongerThanTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newSink()
		w := NewWriter(out, Options{Key: testKey, Every: 100, Interval: time.Minute})
		write(t, w, 0, 3)
		time.Sleep(time.Minute)
		synctest.Wait()
		if report := verify(t, out.Bytes()); report.Segments[0].Proved != 5 {
			t.Errorf("after the interval: %+v", report)
		}
		size := out.Len()
		time.Sleep(time.Hour)
		synctest.Wait()
		if out.Len() != size {
			t.Error("a checkpoint without lines before it")
		}
		write(t, w, 3, 4)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if report := verify(t, out.Bytes()); !report.Whole() || !report.Segments[0].Ended {
			t.Errorf("%+v", report)
		}
	})
}

// A process that is killed leaves any part of what it has written. The next one says what
// it has found, so that this is no fault of the log.
func TestALogIsWholeWhereverTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	log := written(t, 4, 2)
	name := filepath.Join(t.TempDir(), "Svc.ResAPI.log")
	for cut := 0; cut <= len(log); cut++ {
		if cut%5 > 0 && !bytes.ContainsRune(log[max(0, cut-3):min(len(log), cut+3)], '\n') {
			continue // within a line every place is the same
		}
		if err := os.WriteFile(name, log[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := NewWriter(file, Options{Key: testKey, File: name})
		write(t, w, 0, 1)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		report := verifyFile(t, name)
		before := bytes.Count(log[:cut], []byte("\n"))
		if !report.Whole() || (cut > 0 && len(report.Segments) < min(before, 1)+1) {
			t.Fatalf("cut at %d of %d: %+v", cut, len(log), report)
		}
	}
}

// What an output takes of a line is not known beforehand: the disk is full, and has room
// again.
func TestALogIsWholeHoweverItsOutputFails(t *testing.T) {
	t.Parallel()
	lost, kept := 0, 0
	for seed := range uint64(120) {
		random := rand.New(rand.NewPCG(seed, 1))
		out := newSink()
		w := NewWriter(out, Options{Key: testKey, Every: 5})
		for i := range 60 {
			switch random.IntN(6) {
			case 0:
				out.room = random.IntN(700)
			case 1, 2:
				out.room = -1
			}
			text := testLine(i)
			if random.IntN(3) == 0 {
				text += testLine(i + 100)
			}
			if _, err := w.Write([]byte(text)); err != nil {
				lost++
			} else {
				kept++
			}
		}
		out.room = -1
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if report := verify(t, out.Bytes()); !report.Whole() {
			t.Fatalf("seed %d: %+v\n%s", seed, report, out.Bytes())
		}
	}
	if lost < 100 || kept < 100 {
		t.Errorf("lines lost %d, kept %d: the test tries one of both only", lost, kept)
	}
}

func TestAChainGoesOnInAFileThatIsCreatedAgain(t *testing.T) {
	before, after := newSink(), newSink()
	w := NewWriter(before, Options{Key: testKey})
	write(t, w, 0, 3)
	moved := w.Move(after)
	if err := w.Close(); err != nil || !before.closed {
		t.Fatal(err)
	}
	write(t, moved, 3, 6)
	if err := moved.Close(); err != nil {
		t.Fatal(err)
	}
	if report := verify(t, append(before.Bytes(), after.Bytes()...)); !report.Whole() || len(report.Segments) != 1 {
		t.Errorf("%+v", report)
	}
	if report := verify(t, after.Bytes()); !report.Whole() || len(report.Notes) != 1 || report.Segments[0].First != 5 {
		t.Errorf("the new file alone: %+v", report)
	}
}

// A write that hangs in a socket ends when the output is closed.
func TestCloseDoesNotWaitForAWriteThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &hanging{ends: make(chan struct{})}
		w := NewWriter(out, Options{Key: testKey})
		done := make(chan error)
		go func() {
			_, err := w.Write([]byte(testLine(1)))
			done <- err
		}()
		synctest.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
}

type hanging struct{ ends chan struct{} }

func (h *hanging) Write([]byte) (int, error) {
	<-h.ends
	return 0, os.ErrClosed
}

func (h *hanging) Close() error {
	close(h.ends)
	return nil
}

// The cost of the chain alone; that of a line with and without it is in
// caddymodule/logging.
func BenchmarkWrite(b *testing.B) {
	w := NewWriter(discard{}, Options{Key: testKey})
	line := []byte(testLine(1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Write(line); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
