// The response writer that records what the log requires.

package caddymodule

import (
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/headers"
	"github.com/caddy-veeam/veeam-auth/internal/requestbody"
)

// recorder passes a response on unchanged and records the status and, if it may be
// logged, the beginning of the body.
type recorder struct {
	caddyhttp.ResponseWriterWrapper
	limit  int
	all    bool // bodies of successful answers too
	status int
	keep   bool
	cut    bool
	found  *found // has headers that reverse_proxy must not see, which logs them; may be nil
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
		r.keep = (r.all || status >= http.StatusBadRequest) && r.limit > 0 && requestbody.Textual(r.Header().Get("Content-Type"))
	}
	if r.found != nil && status >= http.StatusOK {
		maps.Copy(r.Header(), r.found.session)
	}
	headers.Respell(r.Header())
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

// wrote reports whether the response has begun.
func (r *recorder) wrote() bool { return r.status != 0 }

// ReadFrom implements io.ReaderFrom, so that the kernel can copy bodies that are not
// logged.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.keep {
		return io.Copy(struct{ io.Writer }{r}, src)
	}
	return r.ResponseWriterWrapper.ReadFrom(src)
}

// unlogged keeps an error out of Caddy's error log, which contains a copy of the
// request, if the request is excluded from the access log. It is in the log of
// veeam_auth at level debug, and routes of handle_errors do not run for it.
func (h *Handler) unlogged(w *recorder, r *http.Request, err error) error {
	if skip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool); err == nil || !skip {
		return err
	}
	status := http.StatusInternalServerError
	if failed, ok := errors.AsType[caddyhttp.HandlerError](err); ok && failed.StatusCode != 0 {
		status, err = failed.StatusCode, failed.Err
	}
	h.logger.Debug("the request has failed", zap.Int("status", status), zap.Error(err))
	if !w.wrote() {
		w.WriteHeader(status)
	}
	return nil
}

// Interface guards
var (
	_ http.ResponseWriter = (*recorder)(nil)
	_ io.ReaderFrom       = (*recorder)(nil)
)
