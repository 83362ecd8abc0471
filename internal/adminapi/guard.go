// What every request to the admin endpoints must fulfil, because browsers send requests
// of any page.

package adminapi

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddy-veeam/veeam-auth/internal/browser"
	"github.com/caddy-veeam/veeam-auth/policy"
)

const contentTypeJSON = "application/json"

var (
	errCrossSite = errors.New("pages of other sites may not use the admin endpoint")
	errHost      = errors.New("browsers may use the admin endpoint by the name localhost, by a loopback address or with TLS only")
	errNotJSON   = errors.New("the Content-Type must be exactly " + contentTypeJSON)
)

// Guard returns an error for a request that a page of another site may have caused, or
// that has come under a name that somebody else may have pointed to this machine. A POST
// must have a body that is declared as JSON, which no HTML form can send. Programs that
// are no browsers use any name.
func Guard(r *http.Request) error {
	switch {
	case (browser.Site{}).CrossSite(r, true):
		return &Error{http.StatusForbidden, errCrossSite}
	case r.TLS == nil && fromPage(r.Header) && !policy.LocalHost(r.Host, nil):
		return &Error{http.StatusForbidden, errHost}
	case r.Method == http.MethodPost && !slices.Equal(r.Header["Content-Type"], []string{contentTypeJSON}):
		return &Error{http.StatusUnsupportedMediaType, errNotJSON}
	}
	return nil
}

// fromPage reports whether a request has one of the headers of a page's requests.
func fromPage(header http.Header) bool {
	return len(header["Origin"]) > 0 || len(header["Sec-Fetch-Site"]) > 0
}

// Protect has browsers neither frame nor store an answer, nor guess what it is, nor hand
// it to pages of other sites.
func Protect(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	// Caddy's admin endpoint takes a request of its own page by Origin or Referer.
	header.Set("Referrer-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
}

// guarded has a handler answer only what Guard lets pass.
func guarded(handle Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		Protect(w.Header())
		if err := Guard(r); err != nil {
			return err
		}
		return handle(w, r)
	}
}
