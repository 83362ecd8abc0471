// This file holds the order, the spelling and the masking of the headers in a
// request line.

package svclog

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// sysOrder lists the request headers that Windows' HTTP.sys knows, in the order
// of its HTTP_HEADER_ID. That Veeam's log follows it is inferred from the one
// public sample; the headers that HTTP.sys does not know stand before them.
var sysOrder = [...]string{
	"Cache-Control", "Connection", "Date", "Keep-Alive", "Pragma", "Trailer", "Transfer-Encoding", "Upgrade", "Via",
	"Warning", "Allow", "Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Location",
	"Content-MD5", "Content-Range", "Expires", "Last-Modified", "Accept", "Accept-Charset", "Accept-Encoding",
	"Accept-Language", "Authorization", "Cookie", "Expect", "From", "Host", "If-Match", "If-Modified-Since",
	"If-None-Match", "If-Range", "If-Unmodified-Since", "Max-Forwards", "Proxy-Authorization", "Referer", "Range",
	"TE", "Translate", "User-Agent",
}

// headerRow is what is known of a header by its name.
type headerRow struct {
	rank    int // in sysOrder, or notRanked
	printed string
	verdict verdict
}

const notRanked = -1

// headerTable is what is known of headers.
type headerTable struct {
	// rows holds the headers that are looked up rather than judged, by Go's spelling:
	// those of sysOrder, those whose name Go changes, and frequent ones.
	rows map[string]headerRow

	verdicts [len(sysOrder)]verdict // on those of sysOrder
}

var knownHeaders = sync.OnceValue(func() *headerTable {
	t := &headerTable{rows: make(map[string]headerRow)}
	for i, name := range sysOrder {
		t.verdicts[i] = judgeHeader(name)
		t.rows[http.CanonicalHeaderKey(name)] = headerRow{i, name, t.verdicts[i]}
	}
	for _, name := range [...]string{
		"x-api-version", "X-Request-id", "X-RestSvcSessionId", "X-OTP-TOKEN", "X-CSRF-TOKEN", "Sec-WebSocket-Key",
		"Sec-WebSocket-Protocol", "Postman-Token",
		// Those that many requests have, of which Go changes no name.
		"X-Client-Version", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Requested-With",
		"Origin", "Priority", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Ch-Ua",
		"Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Traceparent", "Tracestate",
	} {
		t.rows[http.CanonicalHeaderKey(name)] = headerRow{notRanked, name, judgeHeader(name)}
	}
	return t
})

// The limits of what a request line shows of its headers: of one value, and of
// all of them.
const (
	headerValueLimit = 2 << 10
	headerListLimit  = 16 << 10
)

// headerList is the headers of one request in the order of the line: the unknown
// ones by name, behind them those of sysOrder.
type headerList struct {
	unknown []string
	known   [len(sysOrder)][]string
}

// sortHeaders makes the list of header, in room if it is large enough. The order
// in which the unknown ones came is lost before a handler sees them;
// x-api-version leads, the others follow by name.
func sortHeaders(header http.Header, room []string) (list headerList) {
	list.unknown = room
	rows := knownHeaders().rows
	for name, values := range header {
		if row, ok := rows[name]; ok && row.rank != notRanked {
			list.known[row.rank] = values
		} else {
			list.unknown = append(list.unknown, name)
		}
	}
	if len(list.unknown) > 1 {
		slices.SortFunc(list.unknown, compareUnknown)
	}
	return list
}

func compareUnknown(a, b string) int {
	const first = "X-Api-Version"
	switch {
	case a == b:
		return 0
	case a == first:
		return -1
	case b == first:
		return 1
	}
	return strings.Compare(a, b)
}

// appendHeaders appends "Name: value; " for each header of r.
func appendHeaders(dst []byte, r *Request, hideLength bool) []byte {
	var room [16]string
	list := sortHeaders(r.Header, room[:0])
	table := knownHeaders()
	limit := len(dst) + headerListLimit
	left := 0
	for _, name := range list.unknown {
		if len(dst) > limit {
			left++
			continue
		}
		row, ok := table.rows[name]
		if ok {
			dst = append(append(dst, row.printed...), ": "...)
		} else {
			dst = appendHeaderName(dst, name)
			row.verdict = judgeHeader(name)
		}
		start := len(dst)
		dst = appendHeaderValues(dst, name, r.Header[name], row.verdict)
		dst = append(guardList(dst, start), "; "...)
	}
	for rank, values := range list.known {
		name := sysOrder[rank]
		fromHost := name == "Host" && r.Host != ""
		switch {
		case values == nil && !fromHost:
			continue
		case len(dst) > limit:
			left++
			continue
		}
		dst = append(append(dst, name...), ": "...)
		start := len(dst)
		switch {
		case fromHost:
			dst = appendHeaderValue(dst, "Host", r.Host, readable)
		case name == "Content-Length" && hideLength:
			dst = appendMask(dst, strings.Join(values, ", "))
		default:
			dst = appendHeaderValues(dst, name, values, table.verdicts[rank])
		}
		dst = append(guardList(dst, start), "; "...)
	}
	if left > 0 {
		dst = append(dst, "More: <"...)
		dst = strconv.AppendInt(dst, int64(left), 10)
		dst = append(dst, " headers, not shown>; "...)
	}
	return dst
}

// appendHeaderName appends a name and ": ". Names that no HTTP server lets
// through are made names, and none is left that would look like the list's own
// frame.
func appendHeaderName(dst []byte, name string) []byte {
	if name == "" {
		name = "_"
	}
	if name == "Parameters" {
		name = "parameters"
	}
	if hides(name) {
		return append(appendMask(dst, name), ": "...)
	}
	for i := range len(name) {
		if c := name[i]; tokenChar[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '_')
		}
	}
	return append(dst, ": "...)
}

var tokenChar = byteSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")

// maskHeaderValue returns the value of a header as it is logged. Of Authorization the
// scheme is kept. Cookies and headers with a secret name are masked as a whole, others as
// by MaskHeaderText.
func maskHeaderValue(name, value string) string {
	return string(appendHeaderValue(nil, name, value, judgeHeader(name)))
}

// SecretHeader reports whether the value of the header is secret as a whole, and no other
// server or client needs it.
func SecretHeader(name string) bool {
	return judgeHeader(name) != readable && !strings.EqualFold(name, subprotocol)
}

// subprotocol is the header in which both sides of a websocket agree on a protocol. Browsers
// let scripts set no other one, so that tokens travel in it.
const subprotocol = "Sec-WebSocket-Protocol"

// HeaderHides reports whether a header contains a secret, in its name, as its whole value or
// in a part of it.
func HeaderHides(name, value string) bool {
	row, ok := knownHeaders().rows[name]
	if !ok {
		row.verdict = judgeHeader(name)
	}
	from, to := secretSegment(value)
	return row.verdict != readable || from < to || hides(value)
}

// MaskHeaderText appends the value of a header with a readable name, masked as a path if it has
// one with a secret in it, such as in Referer and X-Forwarded-Uri, otherwise as by MaskText.
func MaskHeaderText(dst []byte, value string) []byte {
	if from, to := secretSegment(value); from < to {
		return MaskPath(dst, value)
	}
	return MaskText(dst, value)
}

// judgeHeader is judge for the name of a header, which may be any that a client makes up.
// Proxies hand Authorization and Cookie on under longer names: X-Forwarded-Authorization,
// X-Original-Cookie.
func judgeHeader(name string) verdict {
	v := judge(name)
	switch {
	case v != readable:
	case endsFold(name, "Authorization") || endsFold(name, "Cookie"):
		return secretLine
	case strings.EqualFold(name, subprotocol) || hasSecretWord(name) || hides(name):
		return secretField
	}
	return v
}

func endsFold(s, end string) bool {
	return len(s) >= len(end) && strings.EqualFold(s[len(s)-len(end):], end)
}

func appendHeaderValues(dst []byte, name string, values []string, v verdict) []byte {
	limit := len(dst) + 2*headerValueLimit
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if len(dst) > limit {
			dst = append(dst, '<')
			dst = strconv.AppendInt(dst, int64(len(values)-i), 10)
			return append(dst, " more, not shown>"...)
		}
		dst = appendHeaderValue(dst, name, value, v)
	}
	return dst
}

func appendHeaderValue(dst []byte, name, value string, v verdict) []byte {
	if v != readable {
		if scheme := authScheme(value); scheme != "" && endsFold(name, "Authorization") {
			dst = append(append(dst, scheme...), ' ')
			value = strings.TrimLeft(value[len(scheme):], " ")
		}
		return appendMask(dst, value)
	}
	if len(value) > headerValueLimit {
		return appendCut(MaskHeaderText(dst, value[:headerValueLimit]), headerValueLimit)
	}
	return MaskHeaderText(dst, value)
}

// authScheme returns the scheme that value begins with, if it is a known one
// and something follows it.
func authScheme(value string) string {
	scheme, _, more := strings.Cut(value, " ")
	if !more {
		return ""
	}
	for _, known := range [...]string{"Bearer", "Basic", "Digest", "Negotiate", "NTLM", "Token", "ApiKey", "DPoP"} {
		if strings.EqualFold(scheme, known) {
			return scheme
		}
	}
	return ""
}

// guardList rewrites dst[start:], one value of the list, so that nothing in it
// reads as the next entry of the list: the ";" of "; Name: " becomes \u003b.
func guardList(dst []byte, start int) []byte {
	for at := start; at < len(dst); at++ {
		next := bytes.IndexByte(dst[at:], ';')
		if next < 0 {
			return dst
		}
		at += next
		if !forgesEntry(view(dst[at:])) {
			continue
		}
		tail := string(dst[at:])
		dst = dst[:at]
		for i := range len(tail) {
			if tail[i] == ';' && forgesEntry(tail[i:]) {
				dst = appendEscape(dst, ';')
			} else {
				dst = append(dst, tail[i])
			}
		}
		return dst
	}
	return dst
}

// forgesEntry reports whether text, which begins with ";", goes on as a list
// does with its next entry.
func forgesEntry(text string) bool {
	if len(text) < 2 || text[1] != ' ' {
		return false
	}
	_, ok := entryAt(text[2:])
	return ok
}

// entryAt reports whether text begins with "Name: ", and the length of the name.
func entryAt(text string) (name int, ok bool) {
	for name < len(text) && tokenChar[text[name]] {
		name++
	}
	return name, name > 0 && strings.HasPrefix(text[name:], ": ")
}
