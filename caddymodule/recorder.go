// The response writer that remembers what the log needs.

package caddymodule

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// recorder passes everything on as it comes and remembers the status and, of
// answers fit for the log, the beginning of the body.
type recorder struct {
	caddyhttp.ResponseWriterWrapper
	limit  int
	all    bool // bodies of successful answers too
	status int
	keep   bool
	cut    bool
	body   []byte
}

func newRecorder(w http.ResponseWriter, limit int, all bool) *recorder {
	return &recorder{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		limit:                 limit,
		all:                   all,
	}
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
		r.keep = (r.all || status >= http.StatusBadRequest) && r.limit > 0 && textual(r.Header().Get("Content-Type"))
	}
	r.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.keep {
		kept := p[:min(len(p), r.limit-len(r.body))]
		r.body = append(r.body, kept...)
		r.cut = r.cut || len(kept) < len(p)
	}
	return r.ResponseWriterWrapper.Write(p)
}

// wrote reports whether an answer has begun.
func (r *recorder) wrote() bool { return r.status != 0 }

// ReadFrom implements io.ReaderFrom, which keeps the kernel's short way for
// bodies that are not for the log.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.keep {
		return io.Copy(struct{ io.Writer }{r}, src)
	}
	return r.ResponseWriterWrapper.ReadFrom(src)
}

// Interface guards
var (
	_ http.ResponseWriter = (*recorder)(nil)
	_ io.ReaderFrom       = (*recorder)(nil)
)
