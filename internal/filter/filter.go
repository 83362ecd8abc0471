// Package filter removes secrets from a stream of JSON.
//
// JSON replaces the values of secret keys, and secrets inside other strings, and copies
// all other bytes unchanged: order, numbers, white space, escapes and duplicate keys.
// Strings that contain JSON are parsed as such. It buffers a few dozen KiB of the stream
// at most, and as much of JSON in a string, regardless of the size of a value or the
// document. A syntax error ends the stream with an error, so that nothing passes
// unchecked.
//
// docs/filter.md defines what counts as a secret.
package filter

import (
	"errors"
	"io"
	"sync"
)

// Mask replaces a secret string.
const Mask = "****"

// Limits of what is buffered.
const (
	// MaxDepth is the maximum depth of nested arrays and objects.
	MaxDepth = 10_000

	// LookAhead is how many bytes of a string are held back at most while it is not
	// known whether they begin a secret. If it is not known by then they are masked.
	LookAhead = 4 << 10

	chunkSize = 32 << 10
)

// Errors that end a stream. They are wrapped with the position and repeat nothing of
// the stream. A truncated stream ends with io.ErrUnexpectedEOF.
var (
	ErrSyntax   = errors.New("the answer is not JSON")
	ErrEncoding = errors.New("the answer is not in UTF-8")
	ErrDepth    = errors.New("the answer is nested too deeply")
)

// JSON returns the JSON document of r without its secrets. An empty stream is returned
// unchanged. Closing the result closes r if it is an io.Closer. What has come is returned
// at once.
func JSON(r io.Reader) io.ReadCloser {
	prepare()
	return &stream{source: r}
}

// JSONInBulk is JSON for a document that is complete at its source, so that it comes as
// fast as it is read. It is returned in large parts.
func JSONInBulk(r io.Reader) io.ReadCloser {
	prepare()
	return &stream{source: r, bulk: true}
}

// stream reads from source what it needs to have something to give.
type stream struct {
	source  io.Reader
	bulk    bool
	room    *room  // nil before the first read and behind the end
	pending []byte // part of room.scanner.out
	passed  int    // how much of room.scanner.out was passed by the latest read
	err     error
}

// room is the memory that a stream needs.
type room struct {
	chunk   [chunkSize]byte
	scanner scanner
}

// rooms are those of streams that have ended. What their scanners have learned about names
// remains.
var rooms = sync.Pool{New: func() any { return &room{scanner: *newScanner(0)} }}

// maxIdle is how often a source may yield nothing before it counts as broken.
const maxIdle = 100

// Read implements io.Reader. It returns what is ready and waits for no more.
func (f *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for idle := 0; len(f.pending) == 0 && f.err == nil; {
		if f.fill() > 0 {
			idle = 0
		} else if idle++; idle == maxIdle && f.err == nil {
			f.err = io.ErrNoProgress
		}
	}
	if len(f.pending) == 0 {
		f.leave()
		return 0, f.err
	}
	n := copy(p, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

// fill reads from the source and returns how much it gave.
func (f *stream) fill() int {
	if f.room == nil {
		f.enter()
	}
	s := &f.room.scanner
	n, err := f.source.Read(f.room.chunk[:])
	for more := n; f.bulk && err == nil && more > 0 && n < chunkSize; n += more {
		more, err = f.source.Read(f.room.chunk[n:])
	}
	s.keep(f.passed)
	f.err = s.feed(f.room.chunk[:n])
	f.passed = s.passed()
	f.pending = s.out[:f.passed]
	switch {
	case f.err != nil || err == nil:
	case errors.Is(err, io.EOF):
		if f.err = s.finish(); f.err == nil {
			f.err = io.EOF
		}
	default:
		f.err = err
	}
	return n
}

func (f *stream) enter() {
	f.room = rooms.Get().(*room)
	if s := &f.room.scanner; s.out == nil {
		s.out = make([]byte, 0, chunkSize+chunkSize/8)
	}
}

// leave gives the memory back at the end of the stream, unless it has become much.
func (f *stream) leave() {
	if f.room == nil {
		return
	}
	if s := &f.room.scanner; cap(s.out) <= 2*chunkSize && cap(s.text.nested.raw) <= chunkSize {
		s.restart()
		rooms.Put(f.room)
	}
	f.room, f.pending = nil, nil
}

// Close implements io.Closer.
func (f *stream) Close() error {
	if closer, ok := f.source.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
