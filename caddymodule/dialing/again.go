// What net/http does by itself over HTTP/2, and has no end.

package dialing

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/stdlog"
)

const (
	// mostDials is how many connections a request may have net/http dial: enough for one that
	// is sent again after each 401, over a connection of its own each time.
	mostDials = 20

	// A server that has been silent for so long is asked over HTTP/2 whether it is there, and
	// has so long to answer. Servers answer that also while a request runs for hours.
	silence, patience = 30 * time.Second, 15 * time.Second
)

var (
	errGoingAway  = errors.New("the server has closed 20 connections in a row without processing the request (HTTP/2 GOAWAY)")
	errUnanswered = errors.New("the server has not processed the request (HTTP/2 GOAWAY or REFUSED_STREAM), which is not sent again")
)

// Bound ends what would go on for ever in a transport: net/http sends a request without a
// body again, over a new connection, as often as the server says GOAWAY; and it sends all
// requests over an HTTP/2 connection on which the server has gone silent. dials returns where
// the connections of a request are counted; it may be nil for requests of no client.
func Bound(inner *http.Transport, dials func(context.Context) *int32) {
	bound := func(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
		if dial == nil {
			return nil
		}
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			count := dials(ctx)
			if count == nil {
				count = dialsOfLogin(ctx)
			}
			if count != nil && atomic.AddInt32(count, 1) > mostDials {
				return nil, errGoingAway
			}
			return dial(ctx, network, address)
		}
	}
	inner.DialContext, inner.DialTLSContext = bound(inner.DialContext), bound(inner.DialTLSContext)
	inner.HTTP2 = &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: patience}
}

// dialsVar is the variable in which LoginTransport counts connections.
const dialsVar = "veeam_auth.dials"

func dialsOfLogin(ctx context.Context) *int32 {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	count, _ := vars[dialsVar].(*int32)
	return count
}

// sendOnce sends a request that net/http must not send again by itself, whatever the server
// says of the first time: pace and lock-out budget count it once, and a code is good for once.
func sendOnce(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	ctx, stop := context.WithCancelCause(req.Context())
	var sent atomic.Bool
	again := func() {
		if sent.Load() {
			stop(errUnanswered)
		}
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
		GetConn:      func(string) { again() },
		GotConn:      func(httptrace.GotConnInfo) { again() },
	})
	res, err := stdlog.Send(base, req.WithContext(ctx))
	if err != nil && errors.Is(context.Cause(ctx), errUnanswered) {
		return nil, errUnanswered
	}
	return res, err
}
