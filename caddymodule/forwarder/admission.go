// Answers and connections that last, and their callers.

package forwarder

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Admission is asked, as long as an answer or a websocket lasts, whether its caller is still
// admitted.
type Admission interface {
	// Ended returns why the caller is not admitted any more, nil if it is.
	Ended() error

	// Began is when the caller was admitted.
	Began() time.Time
}

// askEvery is how long an answer of an Admission is believed. Other processes learn of a
// revocation within a second, too.
const askEvery = time.Second

// lasting is what lasts. Several may ask it at the same time.
type lasting struct {
	admission Admission // nil for callers that nothing ends

	mu    sync.Mutex
	asked time.Time
	ended error
}

// lasting returns the state of what lasts.
func (r *Recorder) lasting() *lasting {
	if r.lasts == nil {
		r.lasts = &lasting{admission: r.admission}
	}
	return r.lasts
}

// goesOn returns why nothing more may be written. Who was admitted a moment ago is not asked
// about.
func (r *Recorder) goesOn() error {
	if r.admission == nil || r.lasts == nil && time.Since(r.admission.Began()) < askEvery {
		return nil
	}
	return r.lasting().check()
}

// check returns why nothing more may be sent, in either direction.
func (l *lasting) check() error {
	if l.admission == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended == nil && time.Since(l.asked) >= askEvery {
		l.ended = l.admission.Ended()
		l.asked = time.Now()
	}
	return l.ended
}

// Hijack implements http.Hijacker. What the connection brings and takes depends on the
// Admission.
func (r *Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &admittedConn{conn, r.lasting()}, buffers, nil
}

// admittedConn is a connection of a caller.
type admittedConn struct {
	net.Conn
	lasting *lasting
}

func (c *admittedConn) Read(p []byte) (int, error) { return readAdmitted(c.Conn, p, c.lasting) }

func (c *admittedConn) Write(p []byte) (int, error) {
	if err := c.lasting.check(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// CloseWrite ends one direction, as reverse_proxy does when the server has.
func (c *admittedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// Admitted returns the body of a request that becomes a websocket over HTTP/2 or 3.
func (r *Recorder) Admitted(body io.ReadCloser) io.ReadCloser {
	return &admittedBody{body, r.lasting()}
}

// admittedBody is what a caller sends.
type admittedBody struct {
	io.ReadCloser
	lasting *lasting
}

func (b *admittedBody) Read(p []byte) (int, error) { return readAdmitted(b.ReadCloser, p, b.lasting) }

// readAdmitted reads what a caller sends. A read may have waited for long.
func readAdmitted(from io.Reader, p []byte, lasts *lasting) (int, error) {
	n, err := from.Read(p)
	if ended := lasts.check(); ended != nil {
		return 0, ended
	}
	return n, err
}
