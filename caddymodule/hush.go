// What must not stay on a request once the handler has heard it.

package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/svclog"
)

// hush takes out of a request what no other log than ours would mask: by now the
// client's credentials have been heard, and the server must not get them. Caddy's
// access log has a copy of the request already, in which it masks the standard
// headers only: a request with a secret elsewhere - some of Veeam's calls have a
// password in the query - is left out of it.
func hush(r *http.Request) {
	secretive := false
	for name := range r.Header {
		if withheld(name) {
			delete(r.Header, name)
			secretive = secretive || name != "Authorization" && name != "Cookie"
		}
	}
	if query := r.URL.RawQuery; query != "" {
		if masked := string(svclog.MaskQuery(make([]byte, 0, len(query)), query)); masked != query {
			secretive = true
			path, _, _ := strings.Cut(r.RequestURI, "?")
			r.RequestURI = path + "?" + masked // what later handlers log; they send r.URL
		}
	}
	if secretive {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
}
