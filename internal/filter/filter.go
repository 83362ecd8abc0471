// Package filter removes secrets from a stream of JSON.
//
// JSON replaces the values of secret keys, and secrets inside other strings, and copies
// all other bytes unchanged: order, numbers, white space, escapes and duplicate keys.
// Strings that contain JSON are parsed as such. It reads the stream byte by byte and
// buffers a few KiB of it at most, and a few dozen KiB of JSON in a string, regardless
// of the size of a value or the document. A syntax error ends the stream with an error,
// so that nothing passes unchecked.
//
// docs/filter.md defines what counts as a secret.
package filter

import (
	"errors"
	"io"
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

	chunkSize = 16 << 10
)

// Errors that end a stream. They are wrapped with the position and repeat nothing of
// the stream. A truncated stream ends with io.ErrUnexpectedEOF.
var (
	ErrSyntax   = errors.New("the answer is not JSON")
	ErrEncoding = errors.New("the answer is not in UTF-8")
	ErrDepth    = errors.New("the answer is nested too deeply")
)

// JSON returns the JSON document of r without its secrets. An empty stream is returned
// unchanged. Closing the result closes r if it is an io.Closer.
func JSON(r io.Reader) io.ReadCloser {
	prepare()
	return &stream{source: r, scanner: *newScanner(0)}
}

// stream reads from source what it needs to have something to give.
type stream struct {
	source  io.Reader
	chunk   []byte
	pending []byte // part of scanner.out
	passed  int    // how much of scanner.out was passed by the latest read
	err     error
	scanner scanner
}

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
		return 0, f.err
	}
	n := copy(p, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

// fill makes one read from the source and returns how much it gave.
func (f *stream) fill() int {
	if f.chunk == nil {
		f.chunk = make([]byte, chunkSize)
		f.scanner.out = make([]byte, 0, chunkSize+chunkSize/8)
	}
	n, err := f.source.Read(f.chunk)
	f.scanner.keep(f.passed)
	f.err = f.scanner.feed(f.chunk[:n])
	f.passed = f.scanner.passed()
	f.pending = f.scanner.out[:f.passed]
	switch {
	case f.err != nil || err == nil:
	case errors.Is(err, io.EOF):
		if f.err = f.scanner.finish(); f.err == nil {
			f.err = io.EOF
		}
	default:
		f.err = err
	}
	return n
}

// Close implements io.Closer.
func (f *stream) Close() error {
	if closer, ok := f.source.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
