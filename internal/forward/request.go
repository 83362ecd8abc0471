// The request as it is sent to the upstream.

package forward

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

// Simple reports whether Forward can send a request: one that asks for no other protocol
// and no special treatment of its body.
func Simple(r *http.Request) bool {
	return r.Method != http.MethodConnect && len(r.Header["Upgrade"]) == 0 && len(r.Header["Incremental"]) == 0
}

// isHopByHop reports whether a header belongs to one connection. name is in canonical form.
func isHopByHop(name string) bool {
	switch name {
	case "Alt-Svc", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// Values that many requests have in common. Nobody may change them.
var (
	noValue      = []string{""}
	trailersOnly = []string{"trailers"}
	overTLS      = []string{"https"}
	overTCP      = []string{"http"}
)

// parts is memory of a request that is sent, allocated at once.
type parts struct {
	url    url.URL
	values [3]string // of headers
}

// Request returns the request that is sent for r: a copy with a header of its own, whose
// values it shares with r. trusted reports whether the client is a proxy whose
// X-Forwarded-* headers are kept, withhold whether a header is left out; it may be nil. The
// URL has no host yet.
func Request(ctx context.Context, r *http.Request, trusted bool, withhold func(string) bool) *http.Request {
	return new(parts).request(ctx, r, trusted, withhold)
}

func (p *parts) request(ctx context.Context, r *http.Request, trusted bool, withhold func(string) bool) *http.Request {
	out := r.WithContext(ctx)
	p.url = *r.URL
	p.url.Scheme, p.url.Host = "", ""
	out.URL, out.Close, out.Trailer = &p.url, false, nil

	header := make(http.Header, len(r.Header)+7) // and those of the transport
	for name, values := range r.Header {
		if !isHopByHop(name) && (withhold == nil || !withhold(name)) {
			header[name] = values
		}
	}
	out.Header = header
	if len(r.Trailer) > 0 && r.Body != nil {
		out.ContentLength = -1 // the upstream is to read chunks
		delete(header, "Content-Length")
	}
	switch {
	case out.ContentLength == 0:
		out.Body = nil // so that net/http may send it again
	case r.Body != nil:
		out.Body = &unreadBody{ReadCloser: r.Body}
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		header["User-Agent"] = noValue // else net/http sends its own
	}
	te := r.Header["Te"]
	for _, name := range named(r.Header) {
		delete(header, name)
		if name == "Te" {
			te = nil
		}
	}
	if te != nil && httpguts.HeaderValuesContainsToken(te, "trailers") {
		header["Te"] = trailersOnly
	}
	p.forwarded(header, r, trusted)
	passed := via(r.ProtoMajor, r.ProtoMinor)
	if prior := header["Via"]; prior != nil {
		header["Via"] = append(slices.Clip(prior), passed)
	} else {
		header["Via"] = p.value(2, passed)
	}
	return out
}

// value returns a header's values: one, in the memory of p. Nothing is appended there.
func (p *parts) value(i int, value string) []string {
	p.values[i] = value
	return p.values[i : i+1 : i+1]
}

// named are the headers that Connection names, in canonical form.
func named(header http.Header) (names []string) {
	for _, value := range header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = textproto.TrimString(name); name != "" {
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	return names
}

// forwarded sets the X-Forwarded-* headers. Those of a client that is not trusted are
// replaced.
func (p *parts) forwarded(header http.Header, r *http.Request, trusted bool) {
	const forHeader, protoHeader, hostHeader = "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"
	ip := ""
	if r.RemoteAddr == "@" { // a Unix socket
		if !trusted {
			delete(header, forHeader)
			delete(header, protoHeader)
			delete(header, hostHeader)
			return
		}
	} else {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			delete(header, forHeader)
			delete(header, protoHeader)
			delete(header, hostHeader)
			return
		}
		ip, _, _ = strings.Cut(host, "%")
	}
	if prior, omit := all(header, forHeader); !omit {
		switch {
		case trusted && prior != "" && ip != "":
			header[forHeader] = p.value(0, prior+", "+ip)
		case trusted && prior != "":
			header[forHeader] = p.value(0, prior)
		case ip != "":
			header[forHeader] = p.value(0, ip)
		}
	}
	if prior, omit := last(header, protoHeader); !omit {
		switch {
		case trusted && prior != "":
			header[protoHeader] = []string{prior}
		case r.TLS != nil:
			header[protoHeader] = overTLS
		default:
			header[protoHeader] = overTCP
		}
	}
	if prior, omit := last(header, hostHeader); !omit {
		if trusted && prior != "" {
			header[hostHeader] = p.value(1, prior)
		} else {
			header[hostHeader] = p.value(1, r.Host)
		}
	}
}

// all returns the values of a header in one. omit reports that an earlier handler has
// decided that it is not sent.
func all(header http.Header, name string) (value string, omit bool) {
	values, ok := header[name]
	if ok && values == nil {
		return "", true
	}
	return strings.Join(values, ", "), false
}

// last returns the last value of a header.
func last(header http.Header, name string) (value string, omit bool) {
	values, ok := header[name]
	if len(values) == 0 {
		return "", ok && values == nil
	}
	return values[len(values)-1], false
}

// via is the value of the header Via for a message that came in a version of HTTP.
func via(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "1.1 Caddy"
	case major == 2 && minor == 0:
		return "2.0 Caddy"
	case major == 3 && minor == 0:
		return "3.0 Caddy"
	}
	return strconv.Itoa(major) + "." + strconv.Itoa(minor) + " Caddy"
}

// unreadBody is the body of a request. As long as nothing was read of it, it is not closed,
// so that those who answer instead of the upstream can read it.
type unreadBody struct {
	io.ReadCloser
	read, ended atomic.Bool // net/http closes it while it reads
}

func (b *unreadBody) Read(p []byte) (int, error) {
	if b.ended.Load() {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case n > 0:
		b.read.Store(true)
	case err == io.EOF && !b.read.Load():
		b.ended.Store(true)
	}
	return n, err
}

func (b *unreadBody) Close() error {
	if !b.read.Load() && !b.ended.Load() {
		return nil
	}
	return b.ReadCloser.Close()
}
