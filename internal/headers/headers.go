// Package headers handles request headers with a special meaning: those that carry
// credentials, that make some servers interpret the request differently, or that
// proxies add.
package headers

import (
	"net/http"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// StripCredentials takes the client's credentials out of a request once they have been
// heard: the server must not get them. It also takes out what the connection names, and
// masks RequestURI. secretive reports whether the request had a secret elsewhere than in
// the standard headers, which other logs mask: some of Veeam's calls have a password in
// the query.
func StripCredentials(r *http.Request) (secretive bool) {
	for name, values := range r.Header {
		if Withheld(name) {
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
	return secretive
}

// MaskOthers takes out of a request that is passed on what secrets other headers have,
// such as X-Api-Key and a Referer with a token: they are no business of the server's,
// and the proxy writes headers to Caddy's log at level debug. Rules have seen them.
func MaskOthers(header http.Header) {
	for name, values := range header {
		hides := false
		for _, value := range values {
			hides = hides || svclog.HeaderHides(name, value)
		}
		switch {
		case !hides:
		case svclog.SecretHeader(name):
			delete(header, name)
		default:
			masked := make([]string, len(values))
			for i, value := range values {
				masked[i] = svclog.MaskHeaderValue(name, value)
			}
			header[name] = masked
		}
	}
}

// Withheld reports whether a header of the client's is kept from the server:
// those that carry a session or a credential at one product or another, and those
// that make some servers read another request.
func Withheld(name string) bool { return IsCredential(name) || IsOverride(name) }

// IsCredential reports whether a header carries a session or a credential at one
// product or another. The name is in its canonical form.
func IsCredential(name string) bool {
	switch name {
	case "Authorization", "Cookie", "X-Restsvcsessionid", "X-Csrf-Token", "X-Otp-Token":
		return true
	}
	return false
}

// IsOverride reports whether some servers or front ends take the method or
// the path from a header of this name, and so would read another request than the
// rules did.
func IsOverride(name string) bool {
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

// IsRelay reports whether a header is one that proxies add and programs do
// not. The name is in its canonical form.
func IsRelay(name string) bool {
	switch name {
	case "Forwarded", "Via", "Cdn-Loop", "Proxy-Connection": // RFC 7239, RFC 9110, RFC 8586
		return true
	case "X-Forwarded", "Forwarded-For", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Remote-Ip", "X-Remote-Addr",
		"X-Originating-Ip", "X-Original-For", "X-Original-Host", "X-Original-Proto", "X-Proxyuser-Ip", "Proxy-Client-Ip", "Wl-Proxy-Client-Ip", "True-Client-Ip", "Client-Ip":
		return true
	case "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Pseudo-Ipv4", "Cf-Ray", "Cf-Visitor", "Cf-Ipcountry", // Cloudflare
		"Fastly-Client-Ip", "Fastly-Ssl", "Akamai-Origin-Hop", "Incap-Client-Ip", // other networks of caches
		"X-Azure-Clientip", "X-Azure-Socketip", "X-Appengine-User-Ip", "X-Nf-Client-Connection-Ip", "Fly-Client-Ip", "Do-Connecting-Ip":
		return true
	}
	// X-Forwarded-For, -Host, -Proto, -Port, …; X-Original-Forwarded-For; those of
	// Envoy, which stands before the programs of a service mesh.
	return strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-Forwarded-") || strings.HasPrefix(name, "X-Envoy-")
}

// sessionHeader is a header of answers that clients look for in this spelling, which is
// not the canonical one.
const sessionHeader = "X-RestSvcSessionId"

// Respell gives the headers of an answer the spelling that clients look for. HTTP/1.1
// keeps it, HTTP/2 does not.
func Respell(h http.Header) {
	const canonical = "X-Restsvcsessionid"
	if values := h[canonical]; len(values) > 0 {
		delete(h, canonical)
		h[sessionHeader] = values
	}
}
