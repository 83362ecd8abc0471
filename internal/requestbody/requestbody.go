// Package requestbody reads the bodies of requests before a decision, within limits of
// size and time.
package requestbody

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Timeout is how long the body of a token request may take to arrive, and how
// long the rest of a refused request's body is read so that the connection can be
// used again. Everybody can reach the token endpoint: without a limit, a caller
// that sends no body would hold a connection for ever.
const Timeout = 10 * time.Second

// ErrTimeout is returned for a token request that did not arrive in time.
var ErrTimeout = errors.New("the body of the request did not arrive in time")

// Exact has a body that is shorter than announced end with io.ErrUnexpectedEOF. net/http does
// so for HTTP/1 and HTTP/2; over HTTP/3, part of a body would pass for the whole.
func Exact(r *http.Request) {
	if r.ProtoMajor == 3 && r.ContentLength > 0 {
		r.Body = &exact{r.Body, r.ContentLength}
	}
}

// exact is a body of which some bytes are missing.
type exact struct {
	io.ReadCloser
	missing int64
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if e.missing -= int64(n); err == io.EOF && e.missing > 0 { // a reader returns it as it is
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// firstRead is how much memory a body gets before any of it has arrived.
const firstRead = 4 << 10

// readSome reads at most limit bytes. The buffer grows with what arrives, whatever
// length the client has announced.
func readSome(body io.Reader, limit int, announced int64) ([]byte, error) {
	size := min(limit, firstRead)
	if announced >= 0 {
		size = min(size, int(announced)+1) // with room to see the end
	}
	buf := make([]byte, 0, size)
	for len(buf) < limit {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(limit, 2*cap(buf)))
			copy(grown, buf)
			buf = grown
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// Peek reads the beginning of a body that is fit for the log and puts it back. cut
// reports whether there is more than limit bytes of it.
// Nothing is read of other bodies, or of a long one where the client waits for permission to
// send it.
func Peek(r *http.Request, limit int) (body []byte, cut bool) {
	if r.Body == nil || r.Body == http.NoBody || limit <= 0 || !Textual(r.Header.Get("Content-Type")) {
		return nil, false
	}
	if r.Header.Get("Expect") != "" && (r.ContentLength < 0 || r.ContentLength > int64(limit)) {
		return nil, false
	}
	buf, err := readSome(r.Body, limit+1, r.ContentLength)
	r.Body = &peeked{head: buf, ReadCloser: r.Body, err: err}
	if len(buf) > limit {
		return buf[:limit], true
	}
	return buf, false
}

// Textual reports whether a body of this type is logged.
func Textual(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "application/x-www-form-urlencoded" || kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// peeked is a body whose beginning was read before.
type peeked struct {
	io.ReadCloser
	head []byte
	err  error // of reading the head
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.ReadCloser.Read(b)
}

// ReadToken reads the body of a token request into memory, as much of it as a
// token request may have, and puts it back. It takes no longer than the timeout:
// then what is read of the body is ErrTimeout.
func ReadToken(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	buf, err := readWithin(w, r, veeam.MaxTokenRequest+1, timeout)
	r.Body = &peeked{head: buf, ReadCloser: r.Body, err: err}
}

// readWithin reads at most limit bytes of a body, for no longer than the timeout.
func readWithin(w http.ResponseWriter, r *http.Request, limit int, timeout time.Duration) ([]byte, error) {
	body := &timedBody{ReadCloser: r.Body}
	// The deadline of the connection is the server's own business, so it is only
	// touched when there is nothing left to lose.
	fired := make(chan struct{})
	timer := time.AfterFunc(timeout, func() {
		defer close(fired)
		body.expired.Store(true)
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	})
	buf, err := readSome(body, limit, r.ContentLength)
	if !timer.Stop() {
		<-fired // w must not be used any more when the handler has returned
		return nil, ErrTimeout
	}
	return buf, err
}

// ErrTooLarge is returned for a body that is larger than allowed.
var ErrTooLarge = errors.New("the body of the request is too large")

// Whole is a body that was read to its end. It can be read again after Rewind.
type Whole struct {
	bytes.Reader
	text []byte
}

// Rewind has the body read from its start.
func (b *Whole) Rewind() { b.Reset(b.text) }

// Close does nothing: the body it was read from is the server's to close.
func (*Whole) Close() error { return nil }

// ReadWhole reads a body of at most limit bytes to its end, in no longer than the timeout,
// and puts it back as a Whole. Its length is known then, and it has no trailers. The error
// is ErrTooLarge, ErrTimeout or that of the connection.
func ReadWhole(w http.ResponseWriter, r *http.Request, limit int, timeout time.Duration) (*Whole, error) {
	body := new(Whole)
	switch {
	case r.ContentLength > int64(limit):
		return nil, ErrTooLarge
	case r.Body != nil && r.Body != http.NoBody:
		text, err := readWithin(w, r, limit+1, timeout)
		if len(text) > limit {
			return nil, ErrTooLarge
		}
		r.Body = &peeked{ReadCloser: r.Body, err: err}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		body.text = text
	}
	body.Rewind()
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = body, int64(len(body.text)), nil, nil
	if len(body.text) == 0 {
		r.Body = http.NoBody
	}
	return body, nil
}

// Bytes returns what was read. It must not be changed.
func (b *Whole) Bytes() []byte { return b.text }

// timedBody is a body that cannot be read any more once it has expired, also where
// it keeps coming byte by byte.
type timedBody struct {
	io.ReadCloser
	expired atomic.Bool
}

func (b *timedBody) Read(p []byte) (int, error) {
	if b.expired.Load() {
		return 0, ErrTimeout
	}
	return b.ReadCloser.Read(p)
}

// Abandon bounds how long the rest of a refused request's body is waited for.
// HTTP/1 servers read it before they send the answer.
func Abandon(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	if p, ok := r.Body.(*peeked); ok && p.err != nil {
		return // it has been read to its end, or cannot be read
	}
	if _, ok := r.Body.(*Whole); ok {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
}
