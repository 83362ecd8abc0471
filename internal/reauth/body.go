// A request body that can be sent a second time, as far as it was kept.

package reauth

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

var (
	errSuperseded = errors.New("the request is being sent again")
	errNotKept    = errors.New("the body is larger than replay_limit and cannot be sent again")
)

// BodyError is the error of a request whose client has not sent the whole body, or one that
// is malformed. It says nothing of the server.
type BodyError struct{ err error }

func (e *BodyError) Error() string { return "the body of the request: " + e.err.Error() }

// Unwrap returns the error of reading it.
func (e *BodyError) Unwrap() error { return e.err }

// Reason implements veeam.Reasoner.
func (e *BodyError) Reason() veeam.Reason {
	if _, large := errors.AsType[*http.MaxBytesError](e.err); large {
		return veeam.ReasonTooLarge
	}
	return veeam.ReasonBadRequest
}

// replayBody keeps what is read of a body, up to a limit, so that the request
// can be sent again from the start. Nothing is read ahead: bytes are read when
// the transport asks for them, and what was never asked for is still there.
type replayBody struct {
	source io.Reader
	limit  int64

	attempts atomic.Int64
	lost     atomic.Bool               // more than limit was read: what was kept is gone
	broken   atomic.Pointer[BodyError] // why the source has no end

	mu       sync.Mutex
	kept     []byte
	consumed int64
	err      error // the source's last word
}

func newReplayBody(source io.Reader, limit int64) *replayBody {
	return &replayBody{source: source, limit: limit}
}

// replayable reports whether another attempt would get the whole body.
func (b *replayBody) replayable() bool { return !b.lost.Load() }

// attempt returns the body from its start and cuts off earlier attempts. The
// transport may still be reading for one of those; what it reads then is kept
// for this one.
func (b *replayBody) attempt() io.ReadCloser {
	return &bodyAttempt{body: b, number: b.attempts.Add(1)}
}

type bodyAttempt struct {
	body   *replayBody
	number int64
	at     int64
}

func (a *bodyAttempt) current() bool { return a.number == a.body.attempts.Load() }

func (a *bodyAttempt) Read(p []byte) (int, error) {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if !a.current() {
		return 0, errSuperseded
	}
	if a.at < b.consumed {
		if b.lost.Load() {
			return 0, errNotKept
		}
		n := copy(p, b.kept[a.at:])
		a.at += int64(n)
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.source.Read(p)
	if b.err = err; err != nil && err != io.EOF {
		b.broken.Store(&BodyError{err})
	}
	b.consumed += int64(n)
	if !b.lost.Load() {
		// Once a newer attempt counts on what is kept, it is kept whatever the
		// limit: at most the one read that was under way.
		if b.consumed <= b.limit || !a.current() {
			b.kept = append(b.kept, p[:n]...)
		} else {
			b.kept = nil
			b.lost.Store(true)
		}
	}
	if !a.current() {
		return 0, errSuperseded
	}
	a.at += int64(n)
	return n, err
}

// Close does not close the source: another attempt may need it, and the server
// closes it when the request is over.
func (a *bodyAttempt) Close() error { return nil }
