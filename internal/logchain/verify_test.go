// The tests of the verification: every change of a log is found, where it is.

package logchain

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// finds fails unless a fault is found near a line, or right before or behind it, which is
// where the next line has its hash.
func finds(t testing.TB, log []byte, line int, what string) {
	t.Helper()
	report := verify(t, log)
	near := slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.File == "log" && line-1 <= f.Line && f.Line <= line+1 })
	if !near || len(report.Findings) > 3 {
		t.Fatalf("%s at line %d: %v", what, line, report.Findings)
	}
}

// Without -every-change one bit of each byte.
func TestEveryChangedBitIsFound(t *testing.T) {
	t.Parallel()
	log := writtenFile(t, 4, 2)
	line := 1
	for i := range log {
		for bit := range 8 {
			if bit != i%8 && !*everyChange {
				continue
			}
			log[i] ^= 1 << bit
			finds(t, log, line, fmt.Sprintf("bit %d of byte %d", bit, i))
			log[i] ^= 1 << bit
		}
		if log[i] == '\n' {
			line++
		}
	}
}

// Whoever can write the log can compute all hashes again, but signs nothing.
func TestLinesThatAreChainedAgainAreFound(t *testing.T) {
	log := written(t, 30, 10)
	for name, keep := range map[string]func(i int, signed bool) bool{
		"with its checkpoints":    func(int, bool) bool { return true },
		"without its checkpoints": func(i int, signed bool) bool { return i == 0 || !signed },
	} {
		var forged bytes.Buffer
		var s state
		i := 0
		for line := range bytes.Lines(log) {
			text, place, _ := splitField(bytes.TrimSuffix(line, []byte("\n")))
			if i == 0 {
				s.place = place
			}
			if keep(i, place.signed) {
				s.place.signed = place.signed
				forged.Write(s.append(nil, bytes.ReplaceAll(text, []byte("skip=5"), []byte("skip=6"))))
			}
			i++
		}
		report := verify(t, forged.Bytes())
		if len(report.Findings) == 0 || report.Findings[0].Kind != Unsigned || report.Findings[0].Line != 12 {
			t.Errorf("%s: %v\n%s", name, report.Findings, forged.Bytes())
		}
	}
}

func TestALogThatIsSignedWithAnotherKeyIsFound(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out := newSink()
	w := NewWriter(out, Options{Key: key})
	write(t, w, 0, 3)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	report := verify(t, out.Bytes())
	if report.Whole() || !strings.Contains(report.Findings[0].Text, PublicText(key.Public().(ed25519.PublicKey))) {
		t.Errorf("%+v", report)
	}
	both, err := NewVerifier(testKey.Public().(ed25519.PublicKey), key.Public().(ed25519.PublicKey)).
		Verify(t.Context(), "log", bytes.NewReader(append(written(t, 3, 2), out.Bytes()...)))
	if err != nil || !both.Whole() || len(both.Segments) != 2 {
		t.Errorf("with both keys: %v %+v", err, both)
	}
}

// A log without its end is a shorter log: only a copy of its checkpoints tells.
func TestALogThatWasCutLacksACopy(t *testing.T) {
	out, copies := newSink(), newSink()
	w := NewWriter(out, Options{Key: testKey, Every: 10, Copies: copies})
	write(t, w, 0, 45)
	if err := w.Close(); err != nil || !copies.closed {
		t.Fatal(err)
	}
	log := bytes.SplitAfter(out.Bytes(), []byte("\n"))
	check := func(from, to int) *Report {
		v := NewVerifier(testKey.Public().(ed25519.PublicKey))
		if err := v.Expect("copies", bytes.NewReader(copies.Bytes())); err != nil {
			t.Fatal(err)
		}
		report, err := v.Verify(t.Context(), "log", bytes.NewReader(bytes.Join(log[from:to], nil)))
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if report := check(0, len(log)); !report.Whole() || len(report.Notes) > 0 {
		t.Errorf("the whole log: %+v", report)
	}
	if report := check(15, len(log)); !report.Whole() {
		t.Errorf("without its oldest lines: %+v", report)
	}
	if report := check(0, 30); len(report.Findings) != 3 || report.Findings[0].Kind != Removed || report.Findings[0].File != "copies" {
		t.Errorf("cut: %+v", report)
	}
	if report := check(0, 0); len(report.Findings) != 1 {
		t.Errorf("empty: %+v", report)
	}
	if report := verify(t, bytes.Join(log[:30], nil)); !report.Whole() || len(report.Notes) != 1 {
		t.Errorf("cut, without copies: %+v", report)
	}
}

// Three processes write a log one after the other; files are rotated and compressed.
func TestAChainIsFollowedOverRotatedFilesAndRestarts(t *testing.T) {
	name := filepath.Join(t.TempDir(), "Svc.ResAPI.log")
	names := []string{"Svc.ResAPI-2026-01-01T10-00-00.000-size.log.gz", "Svc.ResAPI-2026-01-02T10-00-00.000-size.log.zst", "Svc.ResAPI-2026-01-03T10-00-00.000-size.log"}
	var w *Writer
	open := func() *os.File {
		file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	w = NewWriter(open(), Options{Key: testKey, Every: 3, File: name})
	write(t, w, 0, 5)
	rotate := func(to string) {
		t.Helper()
		pack(t, name, filepath.Join(filepath.Dir(name), to))
	}
	before := w
	rotate(names[0])
	w = w.Move(open())
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, w, 5, 9) // goes on in another file
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rotate(names[1]) // right before another process
	w = NewWriter(open(), Options{Key: testKey, File: name})
	write(t, w, 9, 12) // and is killed
	w = NewWriter(open(), Options{Key: testKey, File: name})
	write(t, w, 12, 14)
	rotate(names[2])
	w = NewWriter(open(), Options{Key: testKey, File: name})
	write(t, w, 14, 15)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(name), "Svc.ResAPI-other.log"), []byte("another log\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report := verifyFile(t, name)
	if !report.Whole() || len(report.Notes) > 0 || len(report.Segments) != 4 || len(report.Files) != 4 {
		t.Fatalf("%+v", report)
	}
	for i, kind := range []Kind{"", Removed, Removed, Removed} { // a missing file; the oldest may be missing
		if i == 0 {
			continue
		}
		gone := filepath.Join(filepath.Dir(name), append(names, filepath.Base(name))[i-1])
		content, err := os.ReadFile(gone)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
		report := verifyFile(t, name)
		switch {
		case i == 1 && (!report.Whole() || len(report.Notes) != 1):
			t.Errorf("without the oldest file: %+v", report)
		case i > 1 && (report.Whole() || report.Findings[0].Kind != kind):
			t.Errorf("without %s: %+v", gone, report)
		}
		if err := os.WriteFile(gone, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// pack moves a file, and compresses it as its new name says.
func pack(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	switch filepath.Ext(to) {
	case ".gz":
		w := gzip.NewWriter(&packed)
		_, _ = w.Write(content)
		_ = w.Close()
	case ".zst":
		w, _ := zstd.NewWriter(&packed)
		_, _ = w.Write(content)
		_ = w.Close()
	default:
		packed.Write(content)
	}
	if err := os.WriteFile(to, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(from); err != nil {
		t.Fatal(err)
	}
}

func TestChainsOfSeveralProcessesInOneOutputStayApart(t *testing.T) {
	out := newSink()
	a, b := NewWriter(out, Options{Key: testKey, Every: 4}), NewWriter(out, Options{Key: testKey, Every: 3})
	for i := range 20 {
		write(t, []*Writer{a, b}[i*7%3%2], i, i+1)
	}
	if a.end() != nil || b.end() != nil {
		t.Fatal("no end")
	}
	if report := verify(t, out.Bytes()); !report.Whole() || len(report.Segments) != 2 || len(report.Notes) > 0 {
		t.Errorf("%+v", report)
	}
	lines := bytes.SplitAfter(out.Bytes(), []byte("\n"))
	if report := verify(t, bytes.Join(slices.Delete(lines, 9, 10), nil)); len(report.Findings) != 1 {
		t.Errorf("%+v", report)
	}
}

// What is no complete line is forgiven only as it was.
func TestAnIncompleteLineIsProvedByTheNextOne(t *testing.T) {
	first := written(t, 3, 2)
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, first[:len(first)-500], 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(file, Options{Key: testKey, File: name})
	write(t, w, 3, 4)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	report := verify(t, log)
	if !report.Whole() || len(report.Notes) != 1 {
		t.Fatalf("%+v\n%s", report, log)
	}
	var line int
	if _, err := fmt.Sscanf(report.Notes[0], "log:%d:", &line); err != nil {
		t.Fatal(err, report.Notes)
	}
	lines := bytes.SplitAfter(log, []byte("\n"))
	lines[line-1][3] ^= 1
	finds(t, bytes.Join(lines, nil), line, "a bit of the incomplete line")
	lines[line-1][3] ^= 1
	finds(t, bytes.Join(slices.Delete(slices.Clone(lines), line-1, line), nil), line, "the incomplete line removed")
	finds(t, log[:len(log)-1], bytes.Count(log, []byte("\n")), "the last line end removed")
}

// The verifier never panics, and what it takes for a field or a signed line is spelled in
// one way.
func FuzzVerify(f *testing.F) {
	f.Add(written(f, 3, 2))
	f.Add([]byte("[03.10.2022 11:48:31.999] <00> Info         Log chain begins: format 1. Signature . [Chain: AAAAAAAAAAA.1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA]\n"))
	f.Add([]byte("\n\n [Chain: ]\n [Chain: .0 ]"))
	f.Fuzz(func(t *testing.T, log []byte) {
		report := verify(t, log)
		if report.Lines > bytes.Count(log, []byte("\n"))+1 {
			t.Errorf("%d lines", report.Lines)
		}
		for line := range bytes.SplitSeq(log, []byte("\n")) {
			text, place, ok := splitField(line)
			if !ok {
				continue
			}
			if again := place.appendTo(bytes.Clone(text)); !bytes.Equal(again, line) {
				t.Errorf("%q is spelled again as %q", line, again)
			}
			if !place.signed {
				continue
			}
			if s, _, sig, ok := parseStatement(line, text); ok {
				again := string(text[:len(stampLayout)]) + head + string(s.appendTo(nil)) + signature + encoding.EncodeToString(sig) + "."
				if s.of == "" && again != string(text) {
					t.Errorf("%q is spelled again as %q", text, again)
				}
			}
		}
		// Bytes behind the last line of a file never count as one.
		name := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(name, log, 0o600); err != nil {
			t.Fatal(err)
		}
		if found := lastOf(name); found.known && !bytes.Contains(log, []byte(found.segment.String())) {
			t.Errorf("%+v", found)
		}
	})
}

// The last line of a long file is found wherever it stands.
func TestTheLastLineOfAFileIsFound(t *testing.T) {
	log := written(t, 3, 2)
	lines := bytes.Split(bytes.TrimSuffix(log, []byte("\n")), []byte("\n"))
	want := sha256.Sum256(lines[len(lines)-1])
	name := filepath.Join(t.TempDir(), "log")
	for _, behind := range []int{0, 1, tailSize - 1, tailSize, 3 * tailSize, 9 * tailSize} {
		content := append(bytes.Clone(log), bytes.Repeat([]byte("x"), behind)...)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if found := lastOf(name); !found.known || found.hash != want || len(found.torn) != behind {
			t.Errorf("%d bytes behind it: %+v", behind, found)
		}
	}
}

func TestKeysAreReadInEveryForm(t *testing.T) {
	private, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key")
	for _, content := range []string{private, public, public + "\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := ReadPublic(name); err != nil || PublicText(key) != public {
			t.Error(err)
		}
	}
	if _, err := ReadKey(name); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), public) {
		t.Error(err)
	}
	if err := os.WriteFile(name, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err := ReadKey(name); err != nil || PublicText(key.Public().(ed25519.PublicKey)) != public {
		t.Error(err)
	}
	if key, err := ReadPublic(public); err != nil || PublicText(key) != public {
		t.Error(err)
	}
	if _, err := ReadPublic(public[1:]); err == nil {
		t.Error("a part of a key")
	}
}

func BenchmarkVerify(b *testing.B) {
	log := written(b, 10_000, DefaultEvery)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if !verify(b, log).Whole() {
			b.Fatal("not whole")
		}
	}
}
