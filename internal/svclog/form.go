// This file holds the masking of URL-encoded forms, query strings and paths.

package svclog

import (
	"strings"
	"sync"
)

// MaskForm appends a URL-encoded form with the values of secret fields masked. All
// other content stays unchanged: order, encoding, duplicates, empty pairs and empty
// values.
//
// A password that was sent without encoding and contains "&" looks like more fields. So
// after a secret field whole pairs are masked, with their names, up to the next field
// of the token endpoints. For the same reason a word without "=" is only shown if it is
// the name of such a field.
func MaskForm(dst, body []byte) []byte { return appendForm(dst, view(body), false) }

// MaskQuery appends a query string without its "?", masked as by MaskForm. Clients put more
// into it than the products describe, so that one word in a name makes its value secret. A
// word without "=" is shown, because it is an ordinary flag in a query.
func MaskQuery(dst []byte, query string) []byte { return appendForm(dst, query, true) }

func appendForm(dst []byte, s string, query bool) []byte {
	behindSecret := false
	for {
		pair, rest, more := strings.Cut(s, "&")
		dst, behindSecret = appendPair(dst, pair, behindSecret, query)
		if !more {
			break
		}
		dst = append(dst, '&')
		s = rest
	}
	return dst
}

// appendPair appends one pair and reports whether the next one stands behind a
// secret.
func appendPair(dst []byte, pair string, behindSecret, query bool) ([]byte, bool) {
	if pair == "" {
		return dst, behindSecret
	}
	name, value, assigned := strings.Cut(pair, "=")
	switch {
	case hides(name):
		return appendMask(dst, pair), behindSecret
	case judgeDecoded(name) != readable, query && hasSecretWordDecoded(name):
		dst = append(dst, name...)
		if assigned {
			dst = append(dst, '=')
		}
		if value != "" {
			dst = appendMask(dst, value)
		}
		return dst, true
	case behindSecret || !assigned && !query:
		if !knownField(name) {
			return appendMask(dst, pair), behindSecret
		}
	}
	dst = append(dst, name...)
	if assigned {
		dst = append(dst, '=')
		dst = maskValue(dst, value)
	}
	return dst, false
}

// maskValue is MaskText for a value that may hold JSON or a form of its own:
// those are masked as a whole if there is a secret in them.
func maskValue(dst []byte, value string) []byte {
	start := len(dst)
	dst = MaskText(dst, value)
	if nestsSecret(view(dst[start:]), 0) {
		return appendMask(dst[:start], value)
	}
	if strings.IndexByte(value, '+') >= 0 {
		spaced := strings.ReplaceAll(view(dst[start:]), "+", " ")
		if hides(spaced) {
			return appendMask(dst[:start], value)
		}
	}
	return dst
}

// knownField reports whether name is a row of knownFields.
func knownField(name string) bool {
	var buf [nameWidth]byte
	return knownFields()[string(normalize(&buf, name))]
}

// knownFields returns the normalised names of the readable fields that token
// requests and the routes with secrets in their query take.
var knownFields = sync.OnceValue(func() map[string]bool {
	return map[string]bool{
		"granttype": true, "username": true, "user": true, "useshorttermrefresh": true, "shortlivedrefreshtoken": true,
		"longlived": true, "rememberme": true, "readonly": true, "useruid": true, "clientid": true, "scope": true,
		"scopes": true, "redirecturi": true, "state": true, "disableantiforgerytoken": true, "apiversion": true,
		"select": true, "filter": true, "subject": true, "keysize": true, "description": true, "isreadaccessonly": true,
		"userloginid": true, "tokentypehint": true, "usersid": true,
	}
})

// PathHides reports whether MaskPath would change a path. Of most paths it knows so without a
// copy.
func PathHides(path string) bool {
	if from, to := secretSegment(path); from == to && !strings.ContainsAny(path, `?%\`) && !holdsSecret(path) && !respelled(path) {
		return false
	}
	return string(MaskPath(make([]byte, 0, 2*len(path)), path)) != path
}

// MaskPath appends a path as received, with its secrets masked: in the query as by
// MaskQuery, in the path as by MaskText, or whole segments where it is encoded. Nothing is
// shown of a path in which only its spelling hides where a secret is.
func MaskPath(dst []byte, path string) []byte {
	path, query, asked := strings.Cut(path, "?")
	if respelled(path) {
		dst = appendMask(append(dst, '/'), path)
		path = ""
	}
	for from, to := secretSegment(path); from < to; from, to = secretSegment(path) {
		dst = appendMask(maskSegments(dst, path[:from]), path[from:to])
		path = path[to:]
	}
	dst = maskSegments(dst, path)
	if asked {
		dst = append(dst, '?')
		dst = MaskQuery(dst, query)
	}
	return dst
}

// maskSegments is MaskPath for a part of a path in which no segment is secret by its place.
func maskSegments(dst []byte, path string) []byte {
	start := len(dst)
	dst, wrapped := maskText(dst, path)
	if !wrapped || !wrapsSecret(view(dst[start:]), 0) {
		return dst
	}
	dst = dst[:start]
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			dst = append(dst, '/')
		}
		dst = MaskText(dst, segment)
	}
	if wrapsSecret(view(dst[start:]), 0) {
		dst = append(dst[:start], '/')
		dst = appendMask(dst, path)
	}
	return dst
}
