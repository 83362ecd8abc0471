// The right to send one request once.

package approval

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-veeam/veeam-auth/internal/requestbody"
)

// Ticket is the right to send one request once. A nil Ticket is that of a request that
// requires no approval.
type Ticket struct {
	// State is that of the approval when it was used.
	State

	approvals *Approvals
	use       *use
	request   *request
	whole     *requestbody.Whole

	sent     bool // once, or for all that is known
	unsent   bool // the transport has seen the request and knows that it was not sent
	answered bool // the server has answered
}

// bound are the headers that tell how the body is read.
var bound = [...]string{"Content-Type", "Content-Encoding"}

// Bind returns the request to send: req with the body that was approved. If req differs from
// the approved request, or was sent before, it returns the difference and nothing is sent.
// Method, path and query are not looked at: see canonical.Request.Mismatch.
func (t *Ticket) Bind(req *http.Request) (out *http.Request, difference string) {
	if t == nil {
		return req, ""
	}
	if t.sent {
		return nil, "second attempt"
	}
	for _, name := range bound {
		if !slices.Equal(req.Header[name], t.request.header[name]) {
			return nil, "header " + name
		}
	}
	t.whole.Rewind()
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(req.Body, int64(len(t.request.body))+1))
		_ = req.Body.Close()
		if err != nil {
			return nil, "body"
		}
	}
	if !bytes.Equal(body, t.request.body) || req.ContentLength > 0 && req.ContentLength != int64(len(body)) {
		return nil, "body"
	}
	out = new(http.Request)
	*out = *req
	out.Header = req.Header.Clone()
	standAlone(out.Header)
	out.Body, out.ContentLength, out.TransferEncoding, out.GetBody = http.NoBody, int64(len(body)), nil, nil
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(t.request.body))
	}
	t.unsent = true
	return out, ""
}

// standAlone takes from the headers what has a server take the request for a repetition of
// another one: it would do nothing, and answer as it answered the other one. These headers are
// no part of what was approved. With X-Request-id, Service Provider Console queues a request;
// it gets an id of its own.
func standAlone(header http.Header) {
	header.Del("Idempotency-Key")
	header.Del("X-Idempotency-Key")
	if len(header["X-Request-Id"]) > 0 {
		header["X-Request-Id"] = []string{uuid.NewString()}
	}
}

// Sending notes that the request is sent now.
func (t *Ticket) Sending() {
	if t != nil {
		t.sent, t.unsent = true, false
	}
}

// Answered notes that the server has answered the request, whatever becomes of it then.
func (t *Ticket) Answered() {
	if t != nil {
		t.answered = true
	}
}

// Unsent notes that nothing was sent after all, because there was no connection. It has no
// effect after Answered.
func (t *Ticket) Unsent() {
	if t != nil && !t.answered {
		t.sent, t.unsent = false, true
	}
}

var errOver = errors.New("the approval is no longer valid")

// Close ends the use of the ticket. If the transport knows that nothing was sent, such as
// for want of a session, the approval can be used again within its time. If that cannot be
// stored, it stays used.
func (t *Ticket) Close(ctx context.Context) {
	if t == nil || !t.unsent {
		return
	}
	a, id := t.approvals, t.ID
	_ = a.alone(context.WithoutCancel(ctx), id, func(ctx context.Context) error {
		spent, err := a.spent(ctx, id)
		if err != nil || spent == nil || spent.By != t.use.By {
			return err
		}
		err = a.change(ctx, func(b *book, now time.Time) error {
			rec := b.byID(id)
			switch {
			case rec == nil || !now.Before(rec.Expires):
				return errOver
			case rec.Status == Approved: // its use is not in the list
				return errSame
			case rec.Status != Used:
				return errOver
			}
			rec.Status, rec.Used = Approved, time.Time{}
			return nil
		})
		if err != nil {
			return err
		}
		return a.store.Delete(ctx, usedPath(id))
	})
}
