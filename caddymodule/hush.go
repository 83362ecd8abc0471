// What must not stay on a request once the handler has heard it.

package caddymodule

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// hush takes out of a request what no other log than ours would mask: by now the
// client's credentials have been heard, and the server must not get them. Caddy's
// access log has a copy of the request already, in which it masks the standard
// headers only: a request with a secret elsewhere - some of Veeam's calls have a
// password in the query - is left out of it.
func hush(r *http.Request) {
	secretive := false
	for name, values := range r.Header {
		if withheld(name) {
			delete(r.Header, name)
			secretive = secretive || name != "Authorization" && name != "Cookie"
			continue
		}
		for _, value := range values {
			secretive = secretive || svclog.HeaderHides(name, value)
		}
	}
	// reverse_proxy takes off what the connection names, so that rules must not see it.
	for _, names := range r.Header["Connection"] {
		for name := range strings.SplitSeq(names, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "Upgrade" && name != "Connection" {
				delete(r.Header, name)
			}
		}
	}
	if query := r.URL.RawQuery; query != "" {
		if masked := svclog.MaskQuery(make([]byte, 0, len(query)), query); string(masked) != query {
			secretive = true
			path, _, _ := strings.Cut(r.RequestURI, "?")
			r.RequestURI = path + "?" + string(masked) // what later handlers log; they send r.URL
		}
	}
	if secretive {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
}

// unlogged keeps an error from Caddy's error log, which has a copy of the request
// too, if the request is left out of the access log. It is in our log at level debug,
// and routes of handle_errors do not run for it.
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

// maskOthers takes out of a request that is passed on what secrets other headers have,
// such as X-Api-Key and a Referer with a token: they are no business of the server's,
// and the proxy writes headers to Caddy's log at level debug. Rules have seen them.
func maskOthers(r *http.Request) {
	for name, values := range r.Header {
		hides := false
		for _, value := range values {
			hides = hides || svclog.HeaderHides(name, value)
		}
		switch {
		case !hides:
		case svclog.SecretHeader(name):
			delete(r.Header, name)
		default:
			masked := make([]string, len(values))
			for i, value := range values {
				masked[i] = svclog.MaskHeaderValue(name, value)
			}
			r.Header[name] = masked
		}
	}
}

// withheld reports whether a header of the client's is kept from the server:
// those that carry a session or a credential at one product or another, and those
// that make some servers read another request.
func withheld(name string) bool { return carriesCredential(name) || overridesRequest(name) }

func carriesCredential(name string) bool {
	switch name {
	case "Authorization", "Cookie", "X-Restsvcsessionid", "X-Csrf-Token", "X-Otp-Token":
		return true
	}
	return false
}

// overridesRequest reports whether some servers or front ends take the method or
// the path from a header of this name, and so would read another request than the
// rules did.
func overridesRequest(name string) bool {
	if len(name) < len("X-Http-Method") || name[0] != 'X' && name[0] != 'x' {
		return false
	}
	switch http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")) {
	case "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Method", "X-Forwarded-Method",
		"X-Original-Url", "X-Rewrite-Url", "X-Original-Uri", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Prefix":
		return true
	}
	return false
}
