// Package forward sends a request to an upstream and copies the answer to the client, as
// Caddy's reverse_proxy does with its default options, at less cost. It does not upgrade
// connections and does not try another upstream. What comes before an answer or behind its
// body, early hints and trailers, is not passed on.
package forward

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

// StatusClientClosed is the status of a request whose client has gone, for logs.
const StatusClientClosed = 499

// Exchange is a request and its answer. The fields in the first group are set by the
// caller, those in the second one by Forward. Others may read those after Forward has
// returned, and Header, Status and Code from the time when the answer begins.
type Exchange struct {
	// Transport sends the request. It gets a copy with a header of its own. Required.
	Transport http.RoundTripper

	// Address is the host and port of the upstream. Required.
	Address string

	// Trusted reports whether the client is a proxy whose X-Forwarded-* headers are kept.
	Trusted bool

	// Withhold reports whether a header of the client is not sent. Default: none.
	Withhold func(name string) bool

	// Observer is told when the answer ends early. Required.
	Observer Observer

	Begun    time.Time     // when Forward was called
	Latency  time.Duration // until the header of the answer was there; 0 without one
	Upstream time.Duration // until the answer was copied; 0 if it was not
	Total    time.Duration // until Forward has returned; 0 before
	Code     int           // the status code of the answer; 0 without one
	Status   string        // the status line of the answer without the protocol
	Header   http.Header   // the header of the answer; must not be changed

	parts parts
}

// Observer is told what nobody else can be told.
type Observer interface {
	// Aborted is called with the request of the client before Forward panics.
	Aborted(r *http.Request, err error)
}

// Forward sends a request and writes the answer to w. If the answer ends early, it calls
// Aborted and panics with http.ErrAbortHandler, so that the client notices. The error is
// that of the transport; nothing has been written then. It is nil if the client has gone.
func (x *Exchange) Forward(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	begun := time.Now()
	x.Begun = begun
	defer func() {
		if x.Total == 0 {
			x.Total = time.Since(begun)
		}
	}()
	out := x.parts.request(ctx, r, x.Trusted, x.Withhold)
	out.URL.Host = x.Address
	res, err := x.Transport.RoundTrip(out)
	latency := time.Since(begun)
	switch {
	case errors.Is(err, context.Canceled):
		w.WriteHeader(StatusClientClosed)
		return nil
	case err != nil:
		return err
	case res.StatusCode == http.StatusSwitchingProtocols:
		_ = res.Body.Close()
		return errSwitched
	}
	x.Latency, x.Header, x.Code, x.Status = latency, res.Header, res.StatusCode, res.Status
	x.answer(w, r, res)
	x.Upstream = time.Since(begun)
	x.Total = x.Upstream
	return nil
}

var errSwitched = errors.New("the server switches to another protocol, which was not requested")

// StatusOf is the status for a request that was not answered because of an error.
func StatusOf(err error) int {
	if errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "operation was canceled") {
		return StatusClientClosed
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // as reverse_proxy: a timeout that is wrapped is another error
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}
