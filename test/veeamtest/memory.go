// The way to a server without a socket, for tests under a clock of their own (testing/synctest).

package veeamtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// Transport returns a RoundTripper that reaches the server in memory, whatever host a request names. It streams, obeys
// the request's context, and turns a fault that breaks the connection into an error. Upgrades need a socket.
// For a synctest bubble, make the server inside of it.
func (s *Server) Transport() http.RoundTripper { return memory{s} }

type memory struct{ s *Server }

var errReset = errors.New("veeamtest: connection reset")

func (m memory) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, leave := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:1"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, begun: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stop()
		defer in.Body.Close()
		defer func() {
			switch broken := recover(); broken {
			case nil:
				w.WriteHeader(http.StatusOK)
				out.CloseWithError(ctx.Err()) // nil: the end of the body
			case http.ErrAbortHandler:
				out.CloseWithError(errReset)
			default:
				panic(broken)
			}
		}()
		m.s.ServeHTTP(w, in)
	}()
	select {
	case <-w.begun:
	case <-done:
	case <-r.Context().Done():
		leave()
		return nil, r.Context().Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent == nil {
		leave()
		return nil, errReset
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: in.Proto, ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: leavingBody{body, leave}, ContentLength: -1, Request: r,
	}, nil
}

// leavingBody tells the server when its reader has had enough.
type leavingBody struct {
	*io.PipeReader
	leave func()
}

func (b leavingBody) Close() error {
	b.leave()
	return b.PipeReader.Close()
}

type pipeWriter struct {
	header http.Header
	out    *io.PipeWriter
	begun  chan struct{}

	mu     sync.Mutex
	status int
	sent   http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent == nil {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	}
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(b)
}

// Flush does nothing, as nothing is buffered.
func (w *pipeWriter) Flush() {}
