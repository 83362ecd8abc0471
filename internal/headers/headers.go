// Package headers handles request headers with a special meaning: those that carry
// credentials, that make some servers interpret the request differently, or that
// proxies add.
package headers

import (
	"net/http"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// StripCredentials removes the client's credentials from a request after they were
// read, because the server must not get them. It also removes the headers that
// Connection names, and masks RequestURI. received is the target of the request as Caddy has
// received it, which is in its access log. secretive reports whether the request had a
// secret outside the standard headers, which logs of others mask: some Veeam clients
// send a password in the query.
func StripCredentials(r *http.Request, received string) (secretive bool) {
	secretive = svclog.PathHides(r.Method) // of a request line such as "vak_… / HTTP/1.1"
	for name, values := range r.Header {
		if Withheld(name) {
			delete(r.Header, name)
		}
		if IsCredential(name) {
			secretive = secretive || name != "Authorization" && name != "Cookie"
			continue
		}
		for _, value := range values {
			secretive = secretive || svclog.HeaderHides(name, value)
		}
	}
	// reverse_proxy removes the headers that Connection names, so rules must not see
	// them.
	for _, names := range r.Header["Connection"] {
		for name := range strings.SplitSeq(names, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "Upgrade" && name != "Connection" {
				delete(r.Header, name)
			}
		}
	}
	if r.URL.User != nil { // http://user:password@host/path, of which the server gets the path
		r.URL.User, r.RequestURI, secretive = nil, r.URL.RequestURI(), true
	}
	if masked, hides := maskTarget(r.RequestURI); hides {
		r.RequestURI, secretive = masked, true // for the logs of later handlers; the request is sent from r.URL
	}
	if secretive || received == r.RequestURI {
		return secretive
	}
	_, hides := maskTarget(received)
	return hides
}

// maskTarget masks the secrets in the target of a request, if there are any.
func maskTarget(target string) (masked string, hides bool) {
	if svclog.PathHides(target) {
		return string(svclog.MaskPath(nil, target)), true
	}
	return target, false
}

// MaskOthers removes the secrets in other headers, such as X-Api-Key or a token in
// Referer, from a request that is sent on. The server does not need them, and
// reverse_proxy writes headers to Caddy's log at level debug. Rules have seen the
// headers before.
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
				masked[i] = string(svclog.MaskHeaderText(nil, value))
			}
			header[name] = masked
		}
	}
}

// Withheld reports whether a request header is not sent to the server: one that carries
// a session or credential of any product, or that makes some servers read another
// request.
func Withheld(name string) bool { return IsCredential(name) || IsOverride(name) }

// IsCredential reports whether a header carries a session or credential of any product.
// name must be in its canonical form.
func IsCredential(name string) bool {
	switch name {
	case "Authorization", "Cookie", "X-Restsvcsessionid", "X-Csrf-Token", "X-Otp-Token":
		return true
	}
	return false
}

// IsOverride reports whether some servers or front ends take the method or the path
// from a header of this name. They would read another request than the rules.
func IsOverride(name string) bool {
	method, path := operation.Overrides(name)
	return method || path
}

// SentOnce spells the headers that say that a request may be repeated in a way that
// net/http does not know: with one of them it sends a request without a body again that a
// server may have carried out before the connection was lost. For servers the case of a name
// makes no difference.
func SentOnce(header http.Header) {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := header[name]; ok {
			delete(header, name)
			header[strings.ToLower(name)] = values
		}
	}
}

// IsRelay reports whether a header is added by proxies and not by clients. name must be
// in its canonical form.
func IsRelay(name string) bool {
	switch name {
	case "Forwarded", "Via", "Cdn-Loop", "Proxy-Connection", // RFC 7239, RFC 9110, RFC 8586
		"Caddy-Templates-Include": // a request that a template of Caddy makes while it answers a client, with a loopback address
		return true
	case "X-Forwarded", "Forwarded-For", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Remote-Ip", "X-Remote-Addr",
		"X-Originating-Ip", "X-Original-For", "X-Original-Host", "X-Original-Proto", "X-Proxyuser-Ip", "Proxy-Client-Ip", "Wl-Proxy-Client-Ip", "True-Client-Ip", "Client-Ip":
		return true
	case "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Pseudo-Ipv4", "Cf-Ray", "Cf-Visitor", "Cf-Ipcountry", // Cloudflare
		"Fastly-Client-Ip", "Fastly-Ssl", "Akamai-Origin-Hop", "Incap-Client-Ip", // other CDNs
		"X-Azure-Clientip", "X-Azure-Socketip", "X-Appengine-User-Ip", "X-Nf-Client-Connection-Ip", "Fly-Client-Ip", "Do-Connecting-Ip":
		return true
	}
	// X-Forwarded-For, -Host, -Proto, -Port, …; X-Original-Forwarded-For; those of
	// Envoy and Linkerd, the proxies of service meshes.
	return strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-Forwarded-") || strings.HasPrefix(name, "X-Envoy-") || strings.HasPrefix(name, "L5d-")
}

// sessionHeader is a response header in the spelling that clients expect. It is not the
// canonical one.
const sessionHeader = "X-RestSvcSessionId"

// Respell gives the response headers the spelling that clients expect. HTTP/1.1 keeps
// the spelling, HTTP/2 does not.
func Respell(h http.Header) {
	const canonical = "X-Restsvcsessionid"
	if values := h[canonical]; len(values) > 0 {
		delete(h, canonical)
		h[sessionHeader] = values
	}
}
