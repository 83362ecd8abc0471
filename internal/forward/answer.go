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

// answer copies an answer to w, with its trailers.
func (x *Exchange) answer(w http.ResponseWriter, r *http.Request, res *http.Response) {
	header := w.Header()
	copyHeader(header, res)
	announced := len(res.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range res.Trailer {
			names = append(names, name)
		}
		slices.Sort(names)
		header.Add("Trailer", strings.Join(names, ", "))
	}
	w.WriteHeader(res.StatusCode)

	err := copyBody(w, res)
	_ = res.Body.Close() // not later: it fills res.Trailer
	if err != nil {
		x.Observer.Aborted(r, err)
		_ = http.NewResponseController(w).Flush() // the client sees what there is
		panic(http.ErrAbortHandler)
	}
	if len(res.Trailer) == 0 {
		return
	}
	// Else net/http might add a Content-Length, which goes without trailers.
	_ = http.NewResponseController(w).Flush()
	prefix := ""
	if len(res.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range res.Trailer {
		for _, value := range values {
			if prefix == "" {
				header.Add(name, value)
			} else {
				header[prefix+name] = append(header[prefix+name], value)
			}
		}
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
func copyBody(w http.ResponseWriter, res *http.Response) error {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	switch {
	case streams(res.Header):
		flush := http.NewResponseController(w).Flush
		_ = flush()
		_, err := copyTo(instantWriter{w, flush}, res.Body, buffer[:])
		return err
	case res.ContentLength >= 0:
		_, err := copyTo(w, res.Body, buffer[:])
		return err
	}
	lazy := &lateWriter{w: w, flush: http.NewResponseController(w).Flush, waits: true}
	lazy.timer = time.AfterFunc(late, lazy.expire)
	defer lazy.stop()
	written, err := copyTo(lazy, res.Body, buffer[:])
	if err == nil && written <= mayGetLength {
		lazy.flushFirst()
	}
	return err
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
func copyTo(to io.Writer, from io.Reader, buffer []byte) (written int64, err error) {
	for {
		n, readErr := from.Read(buffer)
		if n > 0 {
			wrote, err := to.Write(buffer[:n])
			written += int64(wrote)
			switch {
			case err != nil:
				return written, fmt.Errorf("%w: %w", ErrWriting, err)
			case wrote != n:
				return written, io.ErrShortWrite
			}
		}
		switch {
		case readErr == io.EOF: // a reader returns it as it is
			return written, nil
		case readErr != nil:
			return written, fmt.Errorf("reading: %w", readErr)
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

// lateWriter flushes some time after a write, for all that was written until then.
type lateWriter struct {
	w     io.Writer
	flush func() error
	timer *time.Timer

	mu      sync.Mutex
	waits   bool // something is not flushed, and the timer runs
	flushed bool
}

func (l *lateWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.w.Write(p)
	if !l.waits {
		l.waits = true
		l.timer.Reset(late)
	}
	return n, err
}

func (l *lateWriter) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits { // not stopped in the meantime
		_ = l.flush()
		l.waits, l.flushed = false, true
	}
}

// flushFirst flushes an answer of which nothing was flushed, so that it has no length: as
// the upstream's.
func (l *lateWriter) flushFirst() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.flushed {
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
