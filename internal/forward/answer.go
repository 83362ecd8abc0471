// The answer as the client gets it.

package forward

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// answer copies an answer to w.
func (x *Exchange) answer(w http.ResponseWriter, r *http.Request, res *http.Response) {
	copyHeader(w.Header(), res)
	w.WriteHeader(res.StatusCode)
	err := copyBody(w, res)
	_ = res.Body.Close()
	if err != nil {
		x.Observer.Aborted(r, err)
		_ = http.NewResponseController(w).Flush() // the client sees what there is
		panic(http.ErrAbortHandler)
	}
}

// copyHeader adds the header of an answer to that for the client, without what belongs to
// the connection to the upstream. The values are copied: handlers change them in place.
func copyHeader(to http.Header, res *http.Response) {
	count := 1
	for _, values := range res.Header {
		count += len(values)
	}
	room := make([]string, 0, count)
	room = append(room, via(res.ProtoMajor, res.ProtoMinor))
	delete(to, "Server") // Via says it
	to["Via"] = append(to["Via"], room[:1:1]...)
	dropped := named(res.Header)
	for name, values := range res.Header {
		if canonical := http.CanonicalHeaderKey(name); isHopByHop(canonical) || dropped != nil && slices.Contains(dropped, canonical) {
			continue
		} else if name = canonical; len(values) == 0 {
			continue
		}
		if prior := to[name]; prior != nil {
			to[name] = append(prior, values...)
			continue
		}
		begin := len(room)
		room = append(room, values...)
		to[name] = room[begin:len(room):len(room)]
	}
}

const (
	bufferSize = 32 << 10

	// late is how long what was read of an answer of unknown length may wait for more, so
	// that short ones are sent at once.
	late = time.Millisecond

	// net/http and quic-go compute the length of an answer that is no longer than this
	// and complete.
	mayGetLength = 4 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// copyBody copies the body of an answer, and flushes as its kind demands.
func copyBody(w http.ResponseWriter, res *http.Response) (err error) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer func() {
		if err == nil { // else net/http may still be writing what is in it
			buffers.Put(buffer)
		}
	}()
	switch {
	case streams(res.Header):
		flush := http.NewResponseController(w).Flush
		_ = flush()
		return copyTo(instantWriter{w, flush}, res.Body, buffer[:])
	case res.ContentLength >= 0:
		return copyTo(w, res.Body, buffer[:])
	}
	lazy := &lateWriter{w: w, flush: http.NewResponseController(w).Flush, buffer: buffer[:], waits: true}
	lazy.timer = time.AfterFunc(late, lazy.expire)
	defer lazy.stop()
	return lazy.copyFrom(res.Body)
}

// streams reports whether an answer has to be sent on as it comes.
func streams(header http.Header) bool {
	const events = "text/event-stream"
	if len(header["Incremental"]) > 0 { // RFC 10036
		return true
	}
	kind := header.Get("Content-Type")
	if trimmed := strings.TrimSpace(kind); len(trimmed) < len(events) || !strings.EqualFold(trimmed[:len(events)], events) {
		return false
	}
	kind, _, err := mime.ParseMediaType(kind)
	return err == nil && kind == events
}

// ErrWriting is what an error is that the connection of the client has.
var ErrWriting = errors.New("writing")

// copyTo copies until the end. io.Copy would look for other methods of both.
func copyTo(to io.Writer, from io.Reader, buffer []byte) error {
	for {
		n, readErr := from.Read(buffer)
		if n > 0 {
			wrote, err := to.Write(buffer[:n])
			switch {
			case err != nil:
				return fmt.Errorf("%w: %w", ErrWriting, err)
			case wrote != n:
				return io.ErrShortWrite
			}
		}
		switch {
		case readErr == io.EOF: // a reader returns it as it is
			return nil
		case readErr != nil:
			return fmt.Errorf("reading: %w", readErr)
		}
	}
}

// instantWriter flushes after each write.
type instantWriter struct {
	w     io.Writer
	flush func() error
}

func (i instantWriter) Write(p []byte) (int, error) {
	n, err := i.w.Write(p)
	_ = i.flush()
	return n, err
}

// lateWriter collects what is read, and writes and flushes it when its buffer is full or
// some time has passed.
type lateWriter struct {
	w     io.Writer
	flush func() error
	timer *time.Timer

	mu         sync.Mutex
	buffer     []byte // buffer[begin:end] is not written
	begin, end int
	written    int64
	err        error // of a write
	waits      bool  // something is not flushed, and the timer runs
	flushed    bool
}

// leastRead is how much room a read has at least.
const leastRead = 4 << 10

// copyFrom copies until the end.
func (l *lateWriter) copyFrom(from io.Reader) error {
	end := 0
	for {
		n, readErr := from.Read(l.buffer[end:])
		var err error
		if end, err = l.take(n, readErr != nil); err != nil {
			return err
		}
		switch {
		case readErr == io.EOF: // a reader returns it as it is
			l.flushFirst()
			return nil
		case readErr != nil:
			return fmt.Errorf("reading: %w", readErr)
		}
	}
}

// take takes n bytes that were read behind l.end, and returns where the next ones belong.
func (l *lateWriter) take(n int, last bool) (end int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end += n
	if last || len(l.buffer)-l.end < leastRead {
		l.write()
		l.begin, l.end = 0, 0
	}
	if n > 0 && !l.waits {
		l.waits = true
		l.timer.Reset(late)
	}
	return l.end, l.err
}

// write writes what is not written.
func (l *lateWriter) write() {
	if l.begin == l.end || l.err != nil {
		return
	}
	n, err := l.w.Write(l.buffer[l.begin:l.end])
	l.written += int64(n)
	switch {
	case err != nil:
		l.err = fmt.Errorf("%w: %w", ErrWriting, err)
	case n != l.end-l.begin:
		l.err = io.ErrShortWrite
	}
	l.begin = l.end
}

func (l *lateWriter) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits { // not stopped in the meantime
		l.write()
		_ = l.flush()
		l.waits, l.flushed = false, true
	}
}

// flushFirst flushes a short answer of which nothing was flushed, so that it has no length:
// as the upstream's.
func (l *lateWriter) flushFirst() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.flushed && l.written <= mayGetLength {
		_ = l.flush()
		l.waits, l.flushed = false, true
	}
}

func (l *lateWriter) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = false
	l.timer.Stop()
}
