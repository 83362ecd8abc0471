// This file holds the entries in which requests and responses travel through
// zap, and their structured form.

package svclog

import (
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Request is one request as it arrived.
type Request struct {
	// User is the caller: the client's name, DOMAIN\user, or empty for
	// Anonymous.
	User string
	// Method is the method as received.
	Method string
	// Path is the path and the query as received. It is masked when it is
	// printed.
	Path string
	// Body is the body, masked by MaskBody.
	Body []byte
	// Header is the header as received. It is masked when it is printed and
	// not kept after that.
	Header http.Header
	// Host is the host as received; servers take it out of the header.
	Host string
	// RequestID is the id of the request, printed if the encoder is told to.
	RequestID string
	// Thread is Thread(RequestID), or what else shall stand in <NN>.
	Thread uint32
}

// Response is one answer as it was sent.
type Response struct {
	// Method and Path are those of the Request.
	Method, Path string
	// Status is the HTTP status.
	Status int
	// Body is the body, masked by MaskBody; empty if it is not to be logged.
	Body []byte
	// Duration is the time between request and response. The line has no
	// place for it.
	Duration time.Duration
	// RequestID and Thread are those of the Request.
	RequestID string
	Thread    uint32
}

// The messages of the entries that carry a Request or a Response, and the keys
// of their fields.
const (
	RequestKey  = "request"
	ResponseKey = "response"
)

// RequestField carries r through a logger, as in
//
//	logger.Info(svclog.RequestKey, svclog.RequestField(r))
//
// r is read while the entry is written and must not change meanwhile.
func RequestField(r *Request) zap.Field {
	return zap.Field{Key: RequestKey, Type: zapcore.ObjectMarshalerType, Interface: r}
}

// ResponseField carries r through a logger; see RequestField.
func ResponseField(r *Response) zap.Field {
	return zap.Field{Key: ResponseKey, Type: zapcore.ObjectMarshalerType, Interface: r}
}

// MarshalLogObject writes r, masked, for encoders that know nothing of lines.
func (r *Request) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	var buf []byte
	login := loginPath(r.Path)
	enc.AddUint32(ThreadKey, r.Thread)
	if r.RequestID != "" {
		enc.AddString("request_id", string(MaskText(buf, r.RequestID)))
	}
	enc.AddString("user", string(appendUser(buf, r.User)))
	enc.AddString("method", string(appendMethod(buf, r.Method)))
	enc.AddString("path", string(appendTarget(buf, r.Path)))
	if len(r.Body) > 0 {
		enc.AddString("body", string(appendBody(buf, r.Body, login)))
	}
	return enc.AddObject("headers", (*requestHeaders)(r))
}

// MarshalLogObject writes r, masked, for encoders that know nothing of lines.
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
