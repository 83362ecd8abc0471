// This file holds the messages of the request line and the response line.

package svclog

import (
	"bytes"
	"encoding/hex"
	"strings"
)

// Anonymous is the user of a request without a session.
const Anonymous = "Anonymous"

// AppendRequest appends the message of a request line:
//
//	[User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: […]; Parameters: [Name: value; … ].
func AppendRequest(dst []byte, r *Request) []byte {
	dst, _ = appendRequest(dst, r, "")
	return dst
}

// AppendResponse appends the message of a response line:
//
//	[POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied", … }
func AppendResponse(dst []byte, r *Response) []byte { return appendResponse(dst, r, "") }

// appendRequest appends the message of a request line, copied if it is kept. at is where in
// the message the id stands.
func appendRequest(dst []byte, r *Request, id string) (line []byte, at int) {
	start := len(dst)
	if r.kept != "" {
		dst = append(dst, r.kept[:r.keptAt]...)
		dst = append(appendListedID(dst, id), r.kept[r.keptAt:]...)
		return dst, r.keptAt
	}
	dst = append(dst, "[User: "...)
	dst = appendUser(dst, r.User)
	dst = append(dst, "]["...)
	dst = appendMethod(dst, r.Method)
	dst = append(dst, "] request to ["...)
	dst = appendTarget(dst, r.Path)
	dst = append(dst, "] deserialized. Message: ["...)
	login := loginPath(r.Path)
	dst = appendBody(dst, r.Body, login)
	dst = cleanTail(append(dst, "]; Parameters: ["...), start)
	at = len(dst) - start
	dst = appendListedID(dst, id)
	list := len(dst)
	if r.TraceID != [16]byte{} {
		dst = append(append(dst, traceIDName...), ": "...)
		dst = append(hex.AppendEncode(dst, r.TraceID[:]), "; "...)
	}
	dst = appendHeaders(dst, r, hidesLength(r, login))
	dst = append(dst, "]."...)
	return cleanTail(dst, list), at
}

// appendListedID appends the id of a request as the first entry of its parameters, nothing
// without one.
func appendListedID(dst []byte, id string) []byte {
	if id == "" {
		return dst
	}
	start := len(dst)
	dst = append(append(dst, requestIDName...), ": "...)
	at := len(dst)
	dst = MaskText(dst, id)
	return cleanTail(append(guardList(dst, at), "; "...), start)
}

// requestIDName and traceIDName are how the ids of a request and of its trace are called
// where an option adds them. No header of a request is spelled so: Go makes it Request-Id.
const (
	requestIDName = "Request-id"
	traceIDName   = "Trace-id"
)

func appendResponse(dst []byte, r *Response, id string) []byte {
	start := len(dst)
	if r.kept != "" {
		dst = append(dst, r.kept...)
	} else {
		dst = appendAnswer(dst, r)
	}
	if id != "" {
		dst = append(dst, " ["+requestIDName+": "...)
		at := len(dst)
		dst = escapeByte(MaskText(dst, id), at, ']')
		dst = append(dst, ']')
	}
	return cleanTail(dst, start)
}

// appendAnswer appends the message of a response line without an id, not clean.
func appendAnswer(dst []byte, r *Response) []byte {
	dst = append(dst, '[')
	dst = appendMethod(dst, r.Method)
	dst = append(dst, ' ')
	dst = appendTarget(dst, r.Path)
	dst = append(dst, "]: ["...)
	status := r.Status
	if status < 0 || status > 999 {
		status = 0
	}
	dst = appendThree(dst, status)
	dst = append(dst, ']')
	if len(r.Body) == 0 {
		return dst
	}
	dst = append(dst, ' ')
	if r.Status < 400 && answersSecret(r.Path) {
		return appendNotShown(dst, view(r.Body))
	}
	return appendBody(dst, r.Body, loginPath(r.Path))
}

// appendUser appends the user between "[User: " and "]".
func appendUser(dst []byte, user string) []byte {
	if user == "" {
		user = Anonymous
	}
	start := len(dst)
	return escapeByte(MaskText(dst, user), start, ']')
}

// escapeByte escapes every c in dst[start:].
func escapeByte(dst []byte, start int, c byte) []byte {
	at := bytes.IndexByte(dst[start:], c)
	if at < 0 {
		return dst
	}
	tail := string(dst[start+at:])
	dst = dst[:start+at]
	for i := range len(tail) {
		if tail[i] == c {
			dst = appendEscape(dst, rune(c))
		} else {
			dst = append(dst, tail[i])
		}
	}
	return dst
}

// methodLimit is longer than any registered method.
const methodLimit = 24

// appendMethod appends a method in capitals. What is not made of letters, which
// the line has no room for, is printed as UNKNOWN.
func appendMethod(dst []byte, method string) []byte {
	start := len(dst)
	if len(method) > methodLimit || method == "" {
		return append(dst, "UNKNOWN"...)
	}
	for i := range len(method) {
		c := method[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c < 'A' || c > 'Z' {
			return append(dst[:start], "UNKNOWN"...)
		}
		dst = append(dst, c)
	}
	return dst
}

// targetLimit is how much of a path and its query is shown.
const targetLimit = 4 << 10

// appendTarget appends a path as received, with its secrets masked. What would
// end the brackets around it or the path itself is percent-encoded.
func appendTarget(dst []byte, path string) []byte {
	if path == "" {
		path = "/"
	}
	start := len(dst)
	if len(path) > targetLimit {
		dst = appendCut(MaskPath(dst, path[:targetLimit]), targetLimit)
	} else {
		dst = MaskPath(dst, path)
	}
	for i := start; i < len(dst); i++ {
		if !inTarget(dst[i]) {
			tail := string(dst[i:])
			return appendPercent(dst[:i], tail)
		}
	}
	return dst
}

func inTarget(c byte) bool { return ' ' < c && c < 0x7f && c != ']' }

func appendPercent(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; inTarget(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return dst
}

// appendBody appends a masked body. The line ends between the tokens of JSON
// become blanks, which leaves it the same JSON. Where the length of a body
// gives away that of a password, the size in its note is masked too.
func appendBody(dst, body []byte, login bool) []byte {
	if len(body) == 0 {
		return dst
	}
	if login && body[0] == '<' && bytes.HasSuffix(body, []byte(notShown)) {
		dst = append(dst, '<')
		dst = appendMask(dst, view(body[1:len(body)-len(notShown)]))
		return append(dst, notShown...)
	}
	if body[0] != '{' && body[0] != '[' && body[0] > ' ' {
		return append(dst, body...)
	}
	for _, c := range body {
		if c == '\n' || c == '\r' || c == '\t' {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst
}

// hidesLength reports whether the Content-Length of r would give away the
// length of a secret.
func hidesLength(r *Request, login bool) bool {
	return login || bytes.Contains(r.Body, []byte(Mask))
}

// loginPath reports whether requests to path carry credentials in their body.
// Servers ignore the case of a path, so this does too.
func loginPath(path string) bool {
	path = routeOf(path)
	last := path
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' || path[i] == '\\' {
			last = path[i+1:]
			break
		}
	}
	for _, known := range [...]string{
		"token", "authorization_code", "authorizationcode", "usernamepassword", "refresh", "asymmetricalgorithm",
		"sessionmngr", "login", "revoke",
	} {
		if len(last) == len(known) && strings.EqualFold(last, known) {
			return true
		}
	}
	return false
}

// answersSecret reports whether the good answers of path are secrets that no
// key in them tells: keys that the server makes for the caller.
func answersSecret(path string) bool {
	route := strings.ToLower(routeOf(path))
	return strings.Contains(route, "/authentication/keys/") || AnswersUnnamedSecret(path) ||
		strings.HasSuffix(route, "/sessionmngr") || strings.Contains(route, "/"+sessionPath)
}

// AnswersUnnamedSecret reports whether successful answers of path are a secret that the
// server makes for the caller and that no field name identifies.
func AnswersUnnamedSecret(path string) bool {
	path = strings.ToLower(routeOf(path))
	return strings.HasSuffix(path, "/logins/apikey") || strings.HasSuffix(path, "/passwords/generate")
}

// routeOf returns path decoded, without query and what servers ignore at its
// end.
func routeOf(path string) string {
	for i := range len(path) {
		if c := path[i]; c == '?' || c == ';' || c == '#' {
			path = path[:i]
			break
		}
	}
	path = peelAll(path)
	for len(path) > 0 && (path[len(path)-1] == '/' || path[len(path)-1] == '.' || path[len(path)-1] == ' ') {
		path = path[:len(path)-1]
	}
	return path
}
