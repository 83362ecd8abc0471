// The request header that names the API version.

package veeam

import (
	"net/http"
	"strings"
)

// SetVersion sets the version header of a request, if the product has one and the
// request does not set it. The value is version, or the product's default if version is
// empty.
func (p *Product) SetVersion(h http.Header, version string) {
	if p.Version.Header == "" {
		return
	}
	if values := h[p.Version.Header]; len(values) > 0 && strings.TrimSpace(values[0]) != "" {
		return
	}
	if version == "" {
		version = p.Version.Default
	}
	if version == "" {
		return
	}
	h[p.Version.Header] = []string{version}
}

// versionHint is advice for a server that refuses the requested version.
func (p *Product) versionHint() string {
	if p.Version.Default == "" {
		return ""
	}
	return "set api_version to a version that the server serves"
}
