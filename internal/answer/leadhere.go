// Headers that refer to the server: they lead to this site instead.

package answer

import (
	"net/http"
	"strings"
)

// referring are headers of answers that have references, spelled as net/http spells them.
var referring = [...]string{"Location", "Content-Location", "Link", "Refresh"}

// Refers reports whether a response has headers for LeadHere.
func Refers(header http.Header) bool {
	for _, name := range referring {
		if len(header[name]) > 0 {
			return true
		}
	}
	return false
}

// LeadHere changes the headers of a response that refer to the server so that they lead to
// this site: each value of Location, Content-Location, Link and Refresh. References to other
// places remain. server is the URL at which the API begins and base is its path; site is the
// scheme and host by which the client addresses this site.
func LeadHere(header http.Header, server, base, site string) {
	for _, name := range referring {
		values := header[name]
		if len(values) == 0 {
			continue
		}
		led := make([]string, len(values))
		for i, value := range values {
			references := []string{value}
			separator := ""
			switch name {
			case "Link": // <reference>; rel=next, <reference>
				separator = "<"
				references = strings.Split(value, separator)
			case "Refresh": // 5; url=reference
				separator = "="
				references = strings.SplitN(value, separator, 2)
			}
			for j, reference := range references {
				if bare := strings.TrimLeft(reference, `"' `); separator == "" || j > 0 {
					references[j] = reference[:len(reference)-len(bare)] + leadHere(bare, server, base, site)
				}
			}
			led[i] = strings.Join(references, separator)
		}
		header[name] = led
	}
}

// leadHere changes what begins with a reference.
func leadHere(reference, server, base, site string) string {
	_, host, _ := strings.Cut(server, ":") // a reference without a scheme
	for _, prefix := range [...]string{server, host} {
		if rest, ok := below(reference, prefix); ok && prefix != "" {
			return site + rest
		}
	}
	if rest, ok := below(reference, base); ok && base != "" {
		return "/" + strings.TrimPrefix(rest, "/")
	}
	return reference
}

// below returns what follows a prefix in a reference, if it is that of a path.
func below(reference, prefix string) (rest string, ok bool) {
	if len(reference) < len(prefix) || !strings.EqualFold(reference[:len(prefix)], prefix) {
		return "", false
	}
	rest = reference[len(prefix):]
	return rest, rest == "" || strings.IndexByte(`/?#>"'`, rest[0]) >= 0
}
