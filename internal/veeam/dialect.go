// Products whose paths name the API version, and whose versions differ from each
// other.

package veeam

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// dialect is what differs in one version of an API.
type dialect struct {
	logout     int      // the status of a logout. 0: there is none
	answerKeys []string // of token answers: those that only some versions always have
	errorKeys  []string // of errors, beside the message
	errorCodes bool     // errorCode says what the error is, and is not null
}

// dialect is that of a version. Versions that are older than the table's are answered
// as the oldest one.
func (p *Product) dialect(version string) dialect {
	if d, ok := p.dialects[version]; ok || p.dialects == nil {
		return d
	}
	return p.dialects[p.Version.Known[len(p.Version.Known)-1]]
}

// dialectAt is that of the version that a path names.
func (p *Product) dialectAt(urlPath string) dialect {
	first, _, _ := strings.Cut(strings.TrimPrefix(cleanPath(urlPath), "/"), "/")
	return p.dialect(strings.ToLower(first))
}

// version is the API version of the client's own requests; empty if they need none.
func (c *Client) version() string { return cmp.Or(c.APIVersion, c.Product.Version.Default) }

// path is a path of the table, in the client's version.
func (c *Client) path(pattern string) string {
	return strings.ReplaceAll(pattern, "{version}", c.version())
}

// serves reports whether the status of Probe shows a served version.
func (v Version) serves(status int) bool {
	if v.Served == nil {
		return status == http.StatusOK
	}
	return slices.Contains(v.Served, status)
}
