// This file holds the log encoder that writes the lines of Veeam's
// Svc.ResAPI.log.

package logging

import (
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// SvcResAPIEncoder writes log entries in the format in which Veeam's REST services
// write Svc.ResAPI.log:
//
//	[03.10.2022 11:48:31.999] <36> Info         [User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: [grant_type=password&username=benyoung&password=****]; Parameters: [Host: 172.30.6.5:9419; ].
//	[03.10.2022 11:48:32.071] <36> Error        Login failed for user 'benyoung'.
//	[03.10.2022 11:48:32.072] <36> Info         [POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}
//
// It is meant for the logger `http.handlers.veeam_auth.svc`, to which the handler
// `veeam_auth` writes each request and response, but accepts entries of any logger.
// Each entry is one line. Additional fields follow the message as a JSON object; an
// error follows on a separate line, as its message and type. Secrets are masked in all
// of them.
type SvcResAPIEncoder struct {
	// Whether times are in UTC. Default: false: local time, as Veeam logs it.
	UTC bool `json:"utc,omitempty"`

	// Whether lines contain the id of the request: the first parameter of the request
	// line, `Request-id: …`, and the end of the response line, `[Request-id: …]`.
	// Default: false: the number in `<…>` identifies lines that belong together.
	RequestID bool `json:"request_id,omitempty"`

	// What a logger adds to each of its entries and has no place of its own in a
	// line, as JSON.
	zapcore.Encoder `json:"-"`
	context         svclog.Subject
}

// fieldsAsJSON encodes the other fields. It has no keys for time, level and
// message, so an entry comes to an object of its fields.
var fieldsAsJSON = zapcore.NewJSONEncoder(zapcore.EncoderConfig{
	SkipLineEnding: true,
	EncodeTime:     zapcore.RFC3339TimeEncoder,
	EncodeDuration: zapcore.StringDurationEncoder,
})

var (
	entries = buffer.NewPool()
	scratch = sync.Pool{New: func() any { return new(make([]byte, 0, 1<<10)) }}
)

// scratchLimit is the size above which a scratch buffer is not kept.
const scratchLimit = 64 << 10

// CaddyModule returns the Caddy module information.
func (*SvcResAPIEncoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.encoders.svc_resapi",
		New: func() caddy.Module { return new(SvcResAPIEncoder) },
	}
}

// Provision sets up the encoder.
func (e *SvcResAPIEncoder) Provision(caddy.Context) error {
	e.Encoder = fieldsAsJSON.Clone()
	return nil
}

// UnmarshalCaddyfile sets up the encoder from Caddyfile tokens. Syntax:
//
//	svc_resapi {
//	    utc
//	    request_id
//	}
func (e *SvcResAPIEncoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume encoder name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		option := d.Val()
		if d.NextArg() {
			return d.ArgErr()
		}
		switch option {
		case "utc":
			e.UTC = true
		case "request_id":
			e.RequestID = true
		default:
			return d.Errf("unrecognized option '%s' of svc_resapi: allowed: utc, request_id", option)
		}
	}
	return nil
}

// Clone is part of zapcore.Encoder: a logger with fields has its own encoder.
func (e *SvcResAPIEncoder) Clone() zapcore.Encoder {
	clone := *e
	clone.Encoder = e.Encoder.Clone()
	return &clone
}

// AddObject is part of zapcore.ObjectEncoder. It finds a request or response that
// another encoder, such as append, forwards.
func (e *SvcResAPIEncoder) AddObject(key string, object zapcore.ObjectMarshaler) error {
	if e.context.TakeObject(object) {
		return nil
	}
	return e.Encoder.AddObject(key, object)
}

// AddUint32 is part of zapcore.ObjectEncoder. It finds the thread number of a logger
// that belongs to one request.
func (e *SvcResAPIEncoder) AddUint32(key string, value uint32) {
	if key == svclog.ThreadKey {
		e.context.Thread = value
		return
	}
	e.Encoder.AddUint32(key, value)
}

// EncodeEntry writes one entry as one or more lines.
func (e *SvcResAPIEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	context := e.context
	others := 0
	for i := range fields {
		if !context.Take(&fields[i]) {
			others++
		}
	}

	space := scratch.Get().(*[]byte)
	line, err := e.appendEntry((*space)[:0], &entry, fields, &context, others)
	out := entries.Get()
	out.AppendBytes(line)
	if cap(line) <= scratchLimit {
		*space = line
		scratch.Put(space)
	}
	return out, err
}

func (e *SvcResAPIEncoder) appendEntry(
	line []byte, entry *zapcore.Entry, fields []zapcore.Field, context *svclog.Subject, others int,
) ([]byte, error) {
	render := svclog.Renderer{UTC: e.UTC, RequestID: e.RequestID}
	if context.Whole() {
		return render.AppendSubject(line, *entry, context, nil), nil
	}
	object, err := e.encodeOthers(fields, others)
	if err != nil {
		return line, err
	}
	line = render.AppendSubject(line, *entry, context, object.Bytes())
	object.Free()
	return line, nil
}

// encodeOthers encodes the fields that have no place of their own, together with
// those of the logger. Without any, the buffer is empty.
func (e *SvcResAPIEncoder) encodeOthers(fields []zapcore.Field, n int) (*buffer.Buffer, error) {
	others := fields[:0:0]
	if n > 0 {
		others = make([]zapcore.Field, 0, n)
		var place svclog.Subject
		for i := range fields {
			if !place.Take(&fields[i]) {
				others = append(others, fields[i])
			}
		}
	}
	object, err := e.Encoder.EncodeEntry(zapcore.Entry{}, others)
	if err == nil && object.Len() == len("{}") {
		object.Reset()
	}
	return object, err
}

// Interface guards
var (
	_ caddy.Module          = (*SvcResAPIEncoder)(nil)
	_ caddy.Provisioner     = (*SvcResAPIEncoder)(nil)
	_ zapcore.Encoder       = (*SvcResAPIEncoder)(nil)
	_ caddyfile.Unmarshaler = (*SvcResAPIEncoder)(nil)
)
