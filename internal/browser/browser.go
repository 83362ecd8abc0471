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

// Site is a site that browsers reach.
type Site struct {
	// Origins are those whose pages count as the site's own. See ReadOrigins.
	Origins map[string]struct{}

	// Hosts are further names of this machine under which the site is reached.
	Hosts []string
}

// CrossSite reports whether a browser sends the request and does not say that a
// page of this site asked for it. Programs send none of the headers that are
// looked at here, and pages cannot change them (Fetch standard, forbidden request
// headers; Fetch Metadata Request Headers). anonymous says that no account is used for
// the request.
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
		// Where TLS ends before Caddy the schemes differ; then the browser's own
		// comparison counts.
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
				// What a user typed, or where a redirect of another site has led what a
				// user typed: no reason to use an account.
				return !anonymous || r.Method != http.MethodGet && r.Method != http.MethodHead
			}
			return true
		})
	}
	// Browsers leave Sec-Fetch-Site out of websockets, and where the site has no TLS
	// and is not localhost. There, pages of other sites send requests without an
	// Origin, and the name may have been pointed here by whoever owns it.
	return fromBrowser(r.Header) && !(hasOrigin && (r.TLS != nil || policy.LocalHost(r.Host, s.Hosts)))
}

// fromBrowser reports whether a header is one of a browser: all of them send both
// fields, and a page cannot take them out. Programs that borrow the name of a
// browser do not speak its user's languages.
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

// ReadOrigins checks the allowed origins and returns them as browsers write them:
// in lower case, without the port that the scheme implies.
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
