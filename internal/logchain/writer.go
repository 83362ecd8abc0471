// The writer between a log and its output. The lines of a log come to one order here, and
// each gets its place in the chain.

package logchain

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"os"
	"time"
)

// Defaults of Options.
const (
	DefaultEvery    = 1000
	DefaultInterval = time.Minute
)

// Options say how a chain is written.
type Options struct {
	// Key signs the checkpoints. Required.
	Key ed25519.PrivateKey

	// Every is how many lines a checkpoint follows at most. Default: DefaultEvery.
	Every int

	// Interval is how long a line waits for a checkpoint at most. Default:
	// DefaultInterval.
	Interval time.Duration

	// Of names the output for people.
	Of string

	// File is the file that the output writes to. The first line of the chain names the
	// last one that the file has. Empty if the output is no file.
	File string

	// Copies gets a copy of each signed line. Default: none.
	Copies io.WriteCloser

	// Failed is told of a checkpoint that could not be written. Default: nobody.
	Failed func(error)
}

// Writer is an io.WriteCloser that gives each line its place in the chain before it
// writes it to its output. It may be used by several goroutines at once. Each call of Write
// is one of the output.
type Writer struct {
	options Options

	turn   chan struct{} // holds a token; whoever has it may use what follows
	sink   io.WriteCloser
	chain  state
	buffer []byte
	copies []byte // signed lines that are not written yet
	armed  bool   // a timer runs that writes a checkpoint
	closed bool
	moved  bool // the chain goes on in another Writer
}

// state is the end of a chain.
type state struct {
	begun    bool
	looked   bool // after is known
	after    last // what comes before the segment
	place    link // of the next line
	unsigned int  // lines since the last checkpoint
	stamp    [len(stampLayout)]byte
}

// NewWriter returns a Writer before sink. Nothing is written before the first line.
func NewWriter(sink io.WriteCloser, options Options) *Writer {
	options.Every = cmp.Or(options.Every, DefaultEvery)
	options.Interval = cmp.Or(options.Interval, DefaultInterval)
	if options.Failed == nil {
		options.Failed = func(error) {}
	}
	w := &Writer{options: options, turn: make(chan struct{}, 1), sink: sink}
	w.turn <- struct{}{}
	return w
}

// Write writes lines to the output, each with its field, and before or behind them what
// is signed. Text without a line end is a line, too.
func (w *Writer) Write(p []byte) (int, error) {
	<-w.turn
	defer w.release()
	if w.closed || w.moved {
		return 0, os.ErrClosed
	}
	next := w.chain
	out := w.begin(w.buffer[:0], &next, p)
	for rest := p; len(rest) > 0; {
		line := rest
		if end := bytes.IndexByte(rest, '\n'); end >= 0 {
			line, rest = rest[:end], rest[end+1:]
		} else {
			rest = nil
		}
		if isStamp(line) {
			copy(next.stamp[:], line)
		}
		out = next.append(out, line)
		if next.unsigned++; next.unsigned < w.options.Every && len(rest) > 0 {
			continue
		}
		if err := w.put(out, next); err != nil {
			return 0, err
		}
		if next.unsigned >= w.options.Every {
			// By itself: what it says of the file is true unless it is the first line of
			// the next one.
			if err := w.putSigned(checkpoint); err != nil {
				return 0, err
			}
		}
		next, out = w.chain, w.buffer[:0]
	}
	if w.chain.unsigned > 0 && !w.armed {
		w.armed = true
		time.AfterFunc(w.options.Interval, w.tick)
	}
	return len(p), nil
}

func (w *Writer) release() { w.turn <- struct{}{} }

// putSigned writes a signed line.
func (w *Writer) putSigned(kind string) error {
	next := w.chain
	out := w.sign(nil, &next, statement{kind: kind})
	return w.put(out, next)
}

// append appends a line with its field and line end.
func (s *state) append(dst, line []byte) []byte {
	start := len(dst)
	dst = append(dst, line...)
	dst = s.place.appendTo(dst)
	s.place.previous = sha256.Sum256(dst[start:])
	s.place.number++
	return append(dst, '\n')
}

// isStamp reports whether a line begins with the time as Veeam's lines do.
func isStamp(line []byte) bool {
	return len(line) > len(stampLayout) && line[0] == '[' && line[len(stampLayout)-1] == ']' && line[len(stampLayout)] == ' '
}

// begin begins a segment, unless one goes on.
func (w *Writer) begin(dst []byte, s *state, first []byte) []byte {
	if s.begun {
		return dst
	}
	if !s.looked {
		s.looked = true
		if w.options.File != "" {
			s.after = lastOf(w.options.File)
		}
	}
	copy(s.stamp[:], time.Now().UTC().Format(stampLayout))
	if isStamp(first) {
		copy(s.stamp[:], first)
	}
	what := statement{kind: begins, key: w.options.Key.Public().(ed25519.PublicKey), of: w.options.Of, after: s.after}
	if n := len(s.after.torn); n > 0 {
		what.incomplete, what.torn = n, sha256.Sum256(s.after.torn)
	}
	if what.incomplete > 0 || s.after.open {
		dst = append(dst, '\n') // ends what has no line end
	}
	s.begun, s.place = true, link{segment: newID(), number: 1}
	return w.sign(dst, s, what)
}

// sign appends a signed line.
func (w *Writer) sign(dst []byte, s *state, what statement) []byte {
	what.time, what.every = time.Now(), uint64(w.options.Every)
	if w.options.File != "" {
		what.head = headOf(w.options.File)
	}
	line := append(append([]byte(nil), s.stamp[:]...), head...)
	line = what.appendTo(line)
	line = append(line, signature...)
	at := len(line)
	line = append(line, '.')
	s.place.signed = true
	sum := ed25519.Sign(w.options.Key, append([]byte(signed), s.place.appendTo(line)...))
	line = append(encoding.AppendEncode(line[:at], sum), '.')
	s.unsigned = 0
	start := len(dst)
	dst = s.append(dst, line)
	s.place.signed = false
	if w.options.Copies != nil {
		w.copies = append(w.copies, dst[start:]...)
	}
	return dst
}

// put writes what was made, and keeps where the chain has come to. If the output has taken
// a part of it, the next line begins a segment that says so.
func (w *Writer) put(out []byte, next state) error {
	if cap(out) <= 64<<10 {
		w.buffer = out
	}
	copies := w.copies
	w.copies = w.copies[:0]
	n, err := w.sink.Write(out)
	if err == nil && n < len(out) {
		err = io.ErrShortWrite
	}
	switch {
	case err == nil:
		w.chain = next
		if len(copies) > 0 {
			if _, err := w.options.Copies.Write(copies); err != nil {
				w.options.Failed(err)
			}
		}
	case n > 0:
		w.chain = state{looked: true, after: w.chain.cut(out[:n])}
	}
	return err
}

// last is the last line of a segment that has begun.
func (s *state) last() last {
	return last{known: true, segment: s.place.segment, number: s.place.number - 1, hash: s.place.previous}
}

// maxTorn is how much of what is no complete line is remembered, in bytes.
const maxTorn = 1 << 20

// cut is the last line of an output after it has taken a part of what came next.
func (s *state) cut(written []byte) last {
	found := s.after
	if s.begun {
		found = s.last()
	}
	torn := append(bytes.Clone(found.torn), written...)
	if found.open {
		torn, found.open = torn[1:], false // its line end
	}
	found.torn = nil
	end := bytes.LastIndexByte(written, '\n')
	if end >= 0 {
		start := bytes.LastIndexByte(written[:end], '\n') + 1
		if found.take(written[start:end]) { // all complete lines have their place, but an empty one
			torn = bytes.Clone(written[end+1:])
		}
	}
	if found.take(written[end+1:]) {
		found.open = true
		return found
	}
	found.leave(torn)
	return found
}

// tick writes a checkpoint if a line waits for one.
func (w *Writer) tick() {
	<-w.turn
	defer w.release()
	w.armed = false
	if w.closed || w.chain.unsigned == 0 {
		return
	}
	if err := w.putSigned(checkpoint); err != nil {
		w.options.Failed(err)
		if w.chain.unsigned > 0 {
			w.armed = true
			time.AfterFunc(w.options.Interval, w.tick)
		}
	}
}

// End writes the signed end of the segment, unless the output is busy until ctx ends. A
// line that comes later begins another one.
func (w *Writer) End(ctx context.Context) error {
	select {
	case <-w.turn:
		defer w.release()
		return w.end()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Writer) end() error {
	if w.closed {
		return nil
	}
	if !w.chain.begun {
		if len(w.chain.after.torn) == 0 {
			return nil
		}
		next := w.chain // which another segment must tell of
		out := w.begin(nil, &next, nil)
		if err := w.put(out, next); err != nil {
			return err
		}
	}
	next := w.chain
	out := w.sign(nil, &next, statement{kind: ends})
	next.after = next.last()
	next.begun = false
	return w.put(out, next)
}

// closePatience is how long Close waits for a write that hangs.
const closePatience = 2 * time.Second

// Close writes the end of the segment and closes the output. A write that hangs is ended
// by closing the output.
func (w *Writer) Close() error {
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-w.turn:
		defer w.release()
	case <-patience.C:
		return w.sink.Close()
	}
	if w.closed {
		return os.ErrClosed
	}
	err := w.end()
	w.closed = true
	if w.options.Copies != nil && !w.moved {
		err = cmp.Or(err, w.options.Copies.Close())
	}
	return cmp.Or(w.sink.Close(), err)
}

// Move returns a Writer that continues the chain in another output, such as a file that
// was created again. Closing w closes the output before only.
func (w *Writer) Move(sink io.WriteCloser) *Writer {
	moved := NewWriter(sink, w.options)
	<-w.turn
	defer w.release()
	moved.chain, w.chain, w.moved = w.chain, state{looked: true}, true
	moved.armed = moved.chain.unsigned > 0
	if moved.armed {
		time.AfterFunc(moved.options.Interval, moved.tick)
	}
	return moved
}
