// The response writer that records what the log requires.

package forwarder

import (
	"io"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/requestbody"
)

// Recorder passes a response on unchanged and records the status and, if it may be
// logged, the beginning of the body. A response that lasts ends when its caller is not admitted any
// more, and so does a connection that is hijacked.
type Recorder struct {
	caddyhttp.ResponseWriterWrapper

	// Status is that of the response, 0 if it has not begun.
	Status int

	// Body is the beginning of the body, if it may be logged.
	Body []byte

	// Extra has headers that reverse_proxy must not see, which logs them. Default: none.
	Extra *http.Header

	// Cut reports that there is more than Body.
	Cut bool

	all   bool // bodies of successful answers too
	keep  bool
	limit int

	admission Admission
	lasts     *lasting // nil for a moment, which most answers take
}

// Record has the recorder write to w and record up to a number of bytes of the body; all
// reports whether bodies of successful answers are recorded too. caller is who the response
// is for, nil if nothing ends the caller's rights. It is called once.
func (r *Recorder) Record(w http.ResponseWriter, limit int, all bool, caller Admission) {
	r.ResponseWriter, r.limit, r.all, r.admission = w, limit, all, caller
}

// WriteHeader implements http.ResponseWriter.
func (r *Recorder) WriteHeader(status int) {
	if r.Status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.Status = status
		r.keep = (r.all || status >= http.StatusBadRequest) && r.limit > 0 && requestbody.Textual(r.Header().Get("Content-Type"))
	}
	if r.Extra != nil && status >= http.StatusOK {
		maps.Copy(r.Header(), *r.Extra)
	}
	headers.Respell(r.Header())
	r.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *Recorder) Write(p []byte) (int, error) {
	if r.Status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if err := r.goesOn(); err != nil {
		return 0, err
	}
	if r.keep {
		kept := p[:min(len(p), r.limit-len(r.Body))]
		r.Body = append(r.Body, kept...)
		r.Cut = r.Cut || len(kept) < len(p)
	}
	return r.ResponseWriterWrapper.Write(p)
}

// Wrote reports whether the response has begun.
func (r *Recorder) Wrote() bool { return r.Status != 0 }

// ReadFrom implements io.ReaderFrom. Each part is written by Write.
func (r *Recorder) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{r}, src)
}

// Interface guards
var (
	_ http.ResponseWriter = (*Recorder)(nil)
	_ io.ReaderFrom       = (*Recorder)(nil)
	_ http.Hijacker       = (*Recorder)(nil)
)
