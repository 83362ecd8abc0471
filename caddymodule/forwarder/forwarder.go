// Package forwarder sends the requests of a site on in the place of the reverse_proxy behind
// the handler, if that one is configured in the usual way. It uses the same upstreams, their
// counts and the same transport.
package forwarder

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/forward"
	"github.com/caddy-veeam/veeam-auth/internal/headers"
)

// Forwarder sends requests on in the place of a reverse_proxy.
type Forwarder struct {
	proxy     *reverseproxy.Handler
	transport http.RoundTripper
	targets   map[*reverseproxy.Upstream]*target
	logger    *zap.Logger // of the reverse_proxy
}

// Exchange is a request that a Forwarder has sent on.
type Exchange struct {
	forward.Exchange

	by                     *Forwarder
	target                 *target
	dialing                dialing
	requests, limit, fails int // of the upstream when it was chosen
}

// Takes reports whether the request can be sent on by a Forwarder.
func Takes(r *http.Request) bool { return forward.Simple(r) }

// ServeHTTP sends a request on and writes the answer. next is called if no upstream is
// available: it knows the error.
func (f *Forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, x *Exchange) error {
	chosen := f.proxy.LoadBalancing.SelectionPolicy.Select(f.proxy.Upstreams, r, w)
	at := f.targets[chosen]
	if at == nil {
		return next.ServeHTTP(w, r)
	}
	ctx := r.Context()
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.DeleteByPrefix(placeholderPrefix) // of a reverse_proxy before this one
	}
	trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool)
	x.by, x.target, x.requests, x.limit, x.fails = f, at, chosen.NumRequests(), chosen.MaxRequests, chosen.Fails()
	x.Transport, x.Address, x.Trusted, x.Withhold, x.Observer = f.transport, at.dial.Address, trusted, headers.IsCredential, x
	at.active.Add(1)
	defer at.active.Add(-1)
	if err := x.Forward(x.Context(ctx, at.boxed), w, r); err != nil {
		return caddyhttp.Error(forward.StatusOf(err), err)
	}
	return nil
}

// Context returns the context for the transport of a request that goes to an upstream, a
// reverseproxy.DialInfo. It is called once.
func (x *Exchange) Context(ctx context.Context, upstream any) context.Context {
	x.dialing = dialing{ctx, upstream}
	return &x.dialing
}

// dialing is the context of a request with the upstream that it is sent to, as the
// transport of reverse_proxy expects it.
type dialing struct {
	context.Context
	info any // a reverseproxy.DialInfo
}

// dialInfoKey is reverse_proxy's, which does not export it.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// madeKey is the context key of requests that a Forwarder has made.
type madeKey struct{}

// Value implements context.Context.
func (d *dialing) Value(key any) any {
	switch key {
	case dialInfoKey:
		return d.info
	case madeKey{}:
		return d
	}
	return d.Context.Value(key)
}

// Made reports whether a Forwarder has made the request. Its header is then the
// transport's alone, and without credentials of the client: nothing logs it.
func Made(req *http.Request) bool {
	_, made := req.Context().Value(madeKey{}).(*dialing)
	return made
}

// Aborted implements forward.Observer: it logs an answer that has ended early, in the words
// of reverse_proxy.
func (x *Exchange) Aborted(r *http.Request, err error) {
	level := zapcore.WarnLevel
	if gone, ok := errors.AsType[*http3.Error](err); ok && errors.Is(err, forward.ErrWriting) && gone.Remote && gone.ErrorCode == http3.ErrCodeRequestCanceled {
		level = zapcore.DebugLevel
	}
	entry := x.by.logger.Check(level, "aborting with incomplete response")
	if entry == nil {
		return
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	// Not the request that was sent, which has the token.
	entry.Write(zap.String("upstream", x.target.dial.Upstream.String()), zap.Duration("duration", x.Latency),
		zap.Object("request", caddyhttp.LoggableHTTPRequest{
			Request:              forward.Request(r.Context(), r, x.Trusted, x.Withhold),
			ShouldLogCredentials: server != nil && server.Logs != nil && server.Logs.ShouldLogCredentials,
		}), zap.Error(err))
}

const placeholderPrefix = "http.reverse_proxy."

// Placeholder returns the value of a placeholder of reverse_proxy. x may be nil.
func (x *Exchange) Placeholder(key string) (value any, known bool) {
	key, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok || x == nil || x.target == nil {
		return nil, false
	}
	switch key {
	case "upstream.address":
		return x.target.dial.String(), true
	case "upstream.hostport":
		return x.target.dial.Address, true
	case "upstream.host":
		return x.target.dial.Host, true
	case "upstream.port":
		return x.target.dial.Port, true
	case "upstream.requests":
		return x.requests, true
	case "upstream.max_requests":
		return x.limit, true
	case "upstream.fails":
		return x.fails, true
	case "retries":
		return 0, x.Total > 0
	case "duration":
		return x.Total, x.Total > 0
	case "duration_ms":
		return x.Total.Seconds() * 1e3, x.Total > 0
	}
	if x.Code == 0 {
		return nil, false
	}
	switch key {
	case "status_code":
		return x.Code, true
	case "status_text":
		return x.Status, true
	case "upstream.latency":
		return x.Latency, true
	case "upstream.latency_ms":
		return x.Latency.Seconds() * 1e3, true
	case "upstream.duration":
		return x.Upstream, x.Upstream > 0
	case "upstream.duration_ms":
		return x.Upstream.Seconds() * 1e3, x.Upstream > 0
	}
	if name, ok := strings.CutPrefix(key, "header."); ok {
		values, known := x.Header[name]
		return strings.Join(values, ","), known
	}
	return nil, false
}
