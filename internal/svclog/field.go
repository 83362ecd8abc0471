// This file holds the entries in which requests and responses travel through
// zap, and their structured form.

package svclog

import (
	"encoding/hex"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Request is a request as it was received.
type Request struct {
	// User is the caller: a client's name, DOMAIN\user, or empty for Anonymous.
	User string
	// Method is the method as received.
	Method string
	// Path is the path and query as received. It is masked when it is written.
	Path string
	// Body is the body, masked by MaskBody.
	Body []byte
	// Header is the header as received. It is masked when it is written, and not kept.
	Header http.Header
	// Host is the Host header, which servers keep apart from Header.
	Host string
	// RequestID is the id of the request, written if the encoder is configured to.
	RequestID string
	// TraceID is the id of the trace that the request belongs to. Zero: none is written.
	TraceID [16]byte
	// Thread is the number in <NN>, usually Thread(RequestID).
	Thread uint32

	kept   string // the message, rendered without the id, see Renderer.Line
	keptAt int    // where the id stands in it
}

// Response is an answer as it was sent.
type Response struct {
	// Method and Path are those of the Request.
	Method, Path string
	// Status is the HTTP status.
	Status int
	// Body is the body, masked by MaskBody. If it is empty no body is logged.
	Body []byte
	// Duration is the time from request to response. The line does not show it.
	Duration time.Duration
	// RequestID and Thread are those of the Request.
	RequestID string
	Thread    uint32

	kept string // the message, rendered without the id, see Renderer.Line
}

// Messages of the log entries with a Request or a Response, which are also the keys of
// their fields.
const (
	RequestKey  = "request"
	ResponseKey = "response"
)

// RequestField returns a log field for r:
//
//	logger.Info(svclog.RequestKey, svclog.RequestField(r))
//
// r is read when the entry is written and must not change before that.
func RequestField(r *Request) zap.Field {
	return zap.Field{Key: RequestKey, Type: zapcore.ObjectMarshalerType, Interface: r}
}

// ResponseField returns a log field for r. See RequestField.
func ResponseField(r *Response) zap.Field {
	return zap.Field{Key: ResponseKey, Type: zapcore.ObjectMarshalerType, Interface: r}
}

// MarshalLogObject writes r, masked, for encoders other than that of this module.
func (r *Request) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	var buf []byte
	login := loginPath(r.Path)
	enc.AddUint32(ThreadKey, r.Thread)
	if r.RequestID != "" {
		enc.AddString("request_id", string(MaskText(buf, r.RequestID)))
	}
	if r.TraceID != [16]byte{} {
		enc.AddString("trace_id", hex.EncodeToString(r.TraceID[:]))
	}
	enc.AddString("user", string(appendUser(buf, r.User)))
	enc.AddString("method", string(appendMethod(buf, r.Method)))
	enc.AddString("path", string(appendTarget(buf, r.Path)))
	if len(r.Body) > 0 {
		enc.AddString("body", string(appendBody(buf, r.Body, login)))
	}
	return enc.AddObject("headers", (*requestHeaders)(r))
}

// MarshalLogObject writes r, masked, for encoders other than that of this module.
func (r *Response) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	var buf []byte
	enc.AddUint32(ThreadKey, r.Thread)
	if r.RequestID != "" {
		enc.AddString("request_id", string(MaskText(buf, r.RequestID)))
	}
	enc.AddString("method", string(appendMethod(buf, r.Method)))
	enc.AddString("path", string(appendTarget(buf, r.Path)))
	enc.AddInt("status", r.Status)
	switch {
	case len(r.Body) == 0:
	case r.Status < 400 && answersSecret(r.Path):
		enc.AddString("body", string(appendNotShown(buf, view(r.Body))))
	default:
		enc.AddString("body", string(appendBody(buf, r.Body, loginPath(r.Path))))
	}
	if r.Duration > 0 {
		enc.AddDuration("duration", r.Duration)
	}
	return nil
}

// requestHeaders is the header of a Request as an object of its own.
type requestHeaders Request

// MarshalLogObject writes the headers in the order and spelling of the line.
func (h *requestHeaders) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	r := (*Request)(h)
	list := appendHeaders(nil, r, hidesLength(r, loginPath(r.Path)))
	for name, value := range entriesOf(string(list)) {
		enc.AddString(name, value)
	}
	return nil
}
