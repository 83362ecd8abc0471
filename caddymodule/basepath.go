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
