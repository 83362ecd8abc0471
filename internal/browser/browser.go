// Package browser evaluates the headers by which browsers identify the page that caused
// a request.
package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-veeam/veeam-auth/policy"
)

// Site is a site that browsers can reach.
type Site struct {
	// Origins are the allowed origins: their pages count as the site's own. See
	// ReadOrigins.
	Origins map[string]struct{}

	// Hosts are additional names of this machine under which the site is reached.
	Hosts []string
}

// CrossSite reports whether the request is a browser's and is not known to come from a
// page of this site. Programs other than browsers do not send the headers that it
// evaluates, and pages cannot change them (Fetch standard, forbidden request headers;
// Fetch Metadata Request Headers), except that in some browsers a page may choose the
// User-Agent of requests to the name by which it was reached. So a GET to a name that
// somebody has pointed here may look like a program's: what counts without a password
// must look at the name, too. anonymous tells that the request uses no account.
func (s Site) CrossSite(r *http.Request, anonymous bool) bool {
	origins, hasOrigin := r.Header["Origin"]
	sites, hasSite := r.Header["Sec-Fetch-Site"]
	if hasOrigin {
		if len(origins) != 1 {
			return true
		}
		if _, allowed := s.Origins[origins[0]]; allowed {
			return false
		}
		// If TLS ends before Caddy the schemes differ. The browser's own comparison
		// decides then.
		sameOrigin := len(sites) == 1 && sites[0] == "same-origin"
		if scheme, host, ok := strings.Cut(origins[0], "://"); !ok || !strings.EqualFold(host, r.Host) || scheme != schemeOf(r) && !sameOrigin {
			return true
		}
	}
	if hasSite {
		return slices.ContainsFunc(sites, func(site string) bool {
			switch site {
			case "same-origin":
				return false
			case "none":
				// A URL that the user typed, or a redirect of another site from one.
				// That does not allow to use an account.
				return !anonymous || r.Method != http.MethodGet && r.Method != http.MethodHead
			}
			return true
		})
	}
	// Browsers do not send Sec-Fetch-Site with websockets, nor to a site without TLS
	// that is not localhost. There, pages of other sites send requests without an
	// Origin, and the owner of the name may have pointed it here: then the Origin is
	// that name.
	if hasOrigin {
		return r.TLS == nil && !policy.LocalHost(r.Host, s.Hosts)
	}
	return fromBrowser(r.Header)
}

// fromBrowser reports whether the headers are a browser's: all browsers send both
// fields, and a page of another site can neither change nor remove them. Programs that copy a browser's User-Agent do
// not send Accept-Language.
func fromBrowser(header http.Header) bool {
	agent := header["User-Agent"]
	if len(agent) == 0 || !strings.HasPrefix(agent[0], "Mozilla/") {
		return false
	}
	_, ok := header["Accept-Language"]
	return ok
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// ReadOrigins validates the allowed origins and returns them as browsers send them: in
// lower case, without the default port of the scheme.
func ReadOrigins(configured []string) (map[string]struct{}, error) {
	origins := make(map[string]struct{}, len(configured))
	for _, text := range configured {
		origin, err := readOrigin(text)
		if err != nil {
			return nil, err
		}
		origins[origin] = struct{}{}
	}
	return origins, nil
}

func readOrigin(text string) (string, error) {
	u, err := url.Parse(strings.ToLower(text))
	switch {
	case text == "*", err == nil && strings.Contains(u.Host, "*"):
		return "", fmt.Errorf("allowed_origins: %q is not allowed: list each origin", text)
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil,
		strings.ToLower(text) != u.Scheme+"://"+u.Host, strings.HasSuffix(u.Host, ":"):
		return "", fmt.Errorf("allowed_origins: invalid origin %q: write scheme://host or scheme://host:port, without a path", text)
	}
	if implied := map[string]string{"http": "80", "https": "443"}[u.Scheme]; u.Port() == implied {
		u.Host = strings.TrimSuffix(u.Host, ":"+implied)
	}
	return u.Scheme + "://" + u.Host, nil
}
