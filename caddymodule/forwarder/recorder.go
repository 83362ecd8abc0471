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
// logged, the beginning of the body.
type Recorder struct {
	caddyhttp.ResponseWriterWrapper

	// Status is that of the response, 0 if it has not begun.
	Status int

	// Body is the beginning of the body, if it may be logged. Cut reports that there is
	// more.
	Body []byte
	Cut  bool

	// Extra has headers that reverse_proxy must not see, which logs them. Default: none.
	Extra *http.Header

	limit int
	all   bool // bodies of successful answers too
	keep  bool
}

// Record has the recorder write to w and record up to a number of bytes of the body; all
// reports whether bodies of successful answers are recorded too. It is called once.
func (r *Recorder) Record(w http.ResponseWriter, limit int, all bool) {
	r.ResponseWriter, r.limit, r.all = w, limit, all
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
	if r.keep {
		kept := p[:min(len(p), r.limit-len(r.Body))]
		r.Body = append(r.Body, kept...)
		r.Cut = r.Cut || len(kept) < len(p)
	}
	return r.ResponseWriterWrapper.Write(p)
}

// Wrote reports whether the response has begun.
func (r *Recorder) Wrote() bool { return r.Status != 0 }

// ReadFrom implements io.ReaderFrom, so that the kernel can copy bodies that are not
// logged.
func (r *Recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.Status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.keep {
		return io.Copy(struct{ io.Writer }{r}, src)
	}
	return r.ResponseWriterWrapper.ReadFrom(src)
}

// Interface guards
var (
	_ http.ResponseWriter = (*Recorder)(nil)
	_ io.ReaderFrom       = (*Recorder)(nil)
)
