// This file holds the decision how, and whether, a body is printed.

package svclog

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
)

// inflateLimit bounds what is unpacked of a compressed or multipart body.
const inflateLimit = 16 << 10

// MaskBody appends a body as it may be logged. Forms and JSON are recognized by their
// content and masked as by MaskForm and MaskJSON if Content-Type names either of them.
// gzip is unpacked, and multipart/form-data is written as the equivalent URL-encoded
// form. truncated tells that body is only the beginning, and adds a note that says so.
//
// All other content is written as its size, "<17 bytes, not shown>": binary data, XML,
// other compressions and character sets, and what cannot be parsed.
func MaskBody(dst []byte, contentType, contentEncoding string, body []byte, truncated bool) []byte {
	if len(body) == 0 {
		return dst
	}
	sent := body
	start := len(dst)
	if cap(dst) == 0 {
		dst = make([]byte, 0, min(len(body), inflateLimit)+len(incomplete))
	}
	kind, charset := mediaType(contentType)
	if !textual(kind, charset) {
		return appendNotShown(dst, view(sent))
	}
	inflated := false
	switch strings.ToLower(strings.TrimSpace(contentEncoding)) {
	case "", "identity":
	case "gzip", "x-gzip":
		var ok bool
		if body, inflated, ok = gunzip(body); !ok {
			return appendNotShown(dst, view(sent))
		}
	default:
		return appendNotShown(dst, view(sent))
	}

	var end jsonEnd
	if kind == "multipart/form-data" {
		dst, end = appendMultipart(dst, contentType, body)
	} else {
		dst, end = appendText(dst, body)
	}
	switch {
	case end == jsonBroken:
		return appendNotShown(dst[:start], view(sent))
	case truncated:
		return appendCut(dst, len(sent))
	case inflated:
		return appendCut(dst, len(body))
	case end == jsonIncomplete:
		return append(dst, incomplete...)
	}
	return dst
}

// appendText appends a body that is JSON or a form, whichever it looks like.
func appendText(dst, body []byte) ([]byte, jsonEnd) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	text := body
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n') {
		text = text[1:]
	}
	switch {
	case bytes.IndexByte(body, 0) >= 0: // UTF-16, or worse
		return dst, jsonBroken
	case len(text) > 0 && (text[0] == '{' || text[0] == '['):
		return appendJSON(dst, view(body), 0)
	case formLike(text):
		return MaskForm(dst, body), jsonComplete
	}
	return dst, jsonBroken
}

// formLike reports whether text begins with what can be the name of a field and
// a "=".
func formLike(text []byte) bool {
	for i, c := range text {
		switch {
		case c == '=':
			return i > 0
		case endsName[c]:
			return false
		}
	}
	return false
}

var endsName = byteSet(" \t\r\n\v\f<>\"'{}\\;:,")

// mediaType splits a Content-Type into its lower-case type and its charset.
func mediaType(contentType string) (kind, charset string) {
	switch contentType {
	case "application/x-www-form-urlencoded", "application/json": // nearly all
		return contentType, ""
	case "application/json; charset=utf-8":
		return "application/json", "utf-8"
	}
	kind, params, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if params == "" {
		return kind, ""
	}
	params = strings.ToLower(params)
	if _, after, found := strings.Cut(params, "charset="); found {
		charset, _, _ = strings.Cut(after, ";")
		charset = strings.Trim(charset, ` "'`)
	}
	return kind, charset
}

// textual reports whether a body of that type may hold a form or JSON in a
// character set whose ASCII is ASCII.
func textual(kind, charset string) bool {
	switch charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252":
	default:
		return false
	}
	switch kind {
	case "", "application/x-www-form-urlencoded", "application/json", "multipart/form-data",
		"text/plain", "text/json", "*/*":
		return true
	}
	return strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// gunzip unpacks at most inflateLimit bytes. It reports whether there was more
// than it returns, be it beyond the limit or beyond the end of a cut body.
func gunzip(body []byte) (plain []byte, more, ok bool) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, false, false
	}
	plain, err = io.ReadAll(io.LimitReader(r, inflateLimit+1))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || len(plain) == 0 {
		return nil, false, false
	}
	if len(plain) > inflateLimit {
		return plain[:inflateLimit], true, true
	}
	return plain, err != nil, true
}

// appendMultipart appends the fields of a multipart form, URL-encoded and
// masked. Of a file it shows the size.
func appendMultipart(dst []byte, contentType string, body []byte) ([]byte, jsonEnd) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return dst, jsonBroken
	}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for n := 0; ; n++ {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) && n > 0 {
			return dst, jsonComplete
		}
		if err != nil {
			return dst, partsEnd(n)
		}
		value, err := io.ReadAll(io.LimitReader(part, inflateLimit))
		if n > 0 {
			dst = append(dst, '&')
		}
		name := url.QueryEscape(part.FormName())
		switch {
		case part.FileName() != "" || part.FormName() == "":
			dst = append(append(dst, name...), '=')
			dst = appendNotShown(dst, view(value))
		default:
			dst, _ = appendPair(dst, name+"="+url.QueryEscape(string(value)), false, false)
		}
		if err != nil {
			return dst, jsonIncomplete
		}
	}
}

// partsEnd says how a multipart body ended that broke off after n parts.
func partsEnd(n int) jsonEnd {
	if n > 0 {
		return jsonIncomplete
	}
	return jsonBroken
}
