// An upstream below a path of another server.

package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// checkBasePath refuses what is no path in its one spelling.
func checkBasePath(base string) error {
	if base == "" {
		return nil
	}
	plain := strings.Trim(strings.ToLower(base), "abcdefghijklmnopqrstuvwxyz0123456789-._~/") == "" && !strings.ContainsAny(base, "%?#")
	if cleaned, ok := operation.Clean(base); !ok || !plain || cleaned != base || strings.HasSuffix(base, "/") {
		return fmt.Errorf("base_path %s: write a path such as /veeam, with letters, digits and -._~ only and without a slash at the end", base)
	}
	return nil
}

// baseURL is where the API of a request's upstream begins.
func (t *Transport) baseURL(req *http.Request) string {
	return t.scheme(req) + "://" + t.upstreamHost(req) + t.BasePath
}

// rewriteLocation leads a client that is referred to the server to this site
// instead. References to elsewhere stay as they are.
func rewriteLocation(header http.Header, server, base, site string) {
	location := header["Location"][0]
	if rest, ok := below(location, server); ok {
		header.Set("Location", site+rest)
	} else if rest, ok := below(location, base); ok && base != "" {
		header.Set("Location", "/"+strings.TrimPrefix(rest, "/"))
	}
}

// below returns what follows a prefix in a reference, if it is that of a path.
func below(location, prefix string) (rest string, ok bool) {
	if len(location) < len(prefix) || !strings.EqualFold(location[:len(prefix)], prefix) {
		return "", false
	}
	rest = location[len(prefix):]
	return rest, rest == "" || rest[0] == '/' || rest[0] == '?' || rest[0] == '#'
}
