// Package tracing makes spans of what a request causes, if the handler tracing of Caddy
// has begun a trace for it. Otherwise it does nothing.
package tracing

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// The names of the spans. docs/events.md has the same list.
const (
	Login   = "veeam_auth.login"   // an account logs in
	Renewal = "veeam_auth.renewal" // a session is renewed
	Wait    = "veeam_auth.wait"    // a request waits for the login of another one
	Pace    = "veeam_auth.pace"    // a token request waits for its turn
	Code    = "veeam_auth.code"    // a login waits for an unused verification code
	Replay  = "veeam_auth.replay"  // a request is sent again after a 401
)

// The attributes of the spans. There are no others: none has a secret or a path.
const (
	attrProduct   = attribute.Key("veeam_auth.product")
	attrAccount   = attribute.Key("veeam_auth.account")
	attrGrant     = attribute.Key("veeam_auth.grant")
	attrOperation = attribute.Key("veeam_auth.operation")
	attrReason    = attribute.Key("veeam_auth.reason")
)

// attrPath is the attribute of Caddy's span with the path (OpenTelemetry semantic
// conventions for HTTP, url.path).
const attrPath = attribute.Key("url.path")

const scope = "github.com/caddy-veeam/veeam-auth"

// About is what a span is about. Empty fields are left out.
type About struct {
	Product, Account, Grant string

	// Operation is the template of the operation, never a path.
	Operation string
}

func (a About) attributes() (found []attribute.KeyValue) {
	for _, field := range []struct {
		key  attribute.Key
		text string
	}{{attrProduct, a.Product}, {attrAccount, a.Account}, {attrGrant, a.Grant}, {attrOperation, a.Operation}} {
		if field.text != "" {
			found = append(found, field.key.String(field.text))
		}
	}
	return found
}

// Active reports whether the request of ctx is traced.
func Active(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// HidePath has Caddy's own span of the request of ctx show the path as mask returns it. Some
// products have sessions in paths.
func HidePath(ctx context.Context, path string, mask func(to []byte, path string) []byte) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrPath.String(string(mask(nil, path))))
	}
}

// ID is the id of the trace of ctx, zero without one. It is that of the span, which has
// parsed what a caller may have sent.
func ID(ctx context.Context) [16]byte { return trace.SpanContextFromContext(ctx).TraceID() }

// Start begins a span below that of ctx. end ends it: reason is a word of the closed
// vocabulary of reasons if it has failed, otherwise empty.
func Start(ctx context.Context, name string, about About) (below context.Context, end func(reason string)) {
	return start(ctx, name, about)
}

func start(ctx context.Context, name string, about About, options ...trace.SpanStartOption) (context.Context, func(string)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(string) {}
	}
	options = append(options, trace.WithAttributes(about.attributes()...))
	below, span := parent.TracerProvider().Tracer(scope).Start(ctx, name, options...)
	return below, func(reason string) {
		if reason != "" {
			span.SetAttributes(attrReason.String(reason))
			span.SetStatus(codes.Error, reason)
		}
		span.End()
	}
}

// Past makes a span of a wait that began at since and ends now.
func Past(ctx context.Context, name string, about About, since time.Time, reason string) {
	_, end := start(ctx, name, about, trace.WithTimestamp(since))
	end(reason)
}

// Carry returns to with the span of from, so that what outlives a request belongs to its
// trace.
func Carry(to, from context.Context) context.Context {
	if span := trace.SpanFromContext(from); span.IsRecording() {
		return trace.ContextWithSpan(to, span)
	}
	return to
}

// Without returns ctx without a span, for what no request is waiting for.
func Without(ctx context.Context) context.Context {
	if !Active(ctx) {
		return ctx
	}
	return trace.ContextWithSpan(ctx, trace.SpanFromContext(context.Background()))
}

// Flight is a grant for which several requests wait. The zero value is ready for use.
type Flight struct {
	span atomic.Pointer[trace.SpanContext]
}

// Begin notes the span of the grant that begins, that of ctx.
func (f *Flight) Begin(ctx context.Context) {
	if found := trace.SpanContextFromContext(ctx); found.IsValid() {
		f.span.Store(&found)
	} else {
		f.span.Store(nil)
	}
}

// Waited makes a span of a wait for the grant since a time, with a link to it.
func (f *Flight) Waited(ctx context.Context, about About, since time.Time, reason string) {
	options := []trace.SpanStartOption{trace.WithTimestamp(since)}
	if linked := f.span.Load(); linked != nil {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: *linked}))
	}
	_, end := start(ctx, Wait, about, options...)
	end(reason)
}
