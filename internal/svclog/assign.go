// This file holds the search for values that stand after a secret name in
// running text, in the notations of forms, JSON, headers and Go.

package svclog

import "strings"

// assigned finds the value that a "=" or ":" at s[i] gives to a secret name.
func assigned(s string, i int) (start, end int) {
	name, quoted := nameBefore(s, i)
	if name == "" {
		return 0, 0
	}
	v := judgeDecoded(name)
	if v == readable && s[i] == '=' && beginsParameter(s, i-len(name)) && hasSecretWordDecoded(name) {
		v = secretField
	}
	switch {
	case v == readable:
		return 0, 0
	case v == secretField && s[i] == ':' && !quoted:
		return 0, 0 // "Error code: 5", "Invalid token: expired"
	}
	start = i + 1
	for start < len(s) && strings.IndexByte("=:> \t", s[start]) >= 0 {
		start++
	}
	return valueAt(s, start, v)
}

// beginsParameter reports whether what begins at s[start] is a parameter of a URL: of its
// query, its path or its fragment.
func beginsParameter(s string, start int) bool {
	return start > 0 && strings.IndexByte("?&;#/", s[start-1]) >= 0
}

// NamesParameter reports whether text ends with the name of a secret, as it stands
// before a "=" or, if colon is set, a ":". line tells that the value is the rest of the
// line. Percent encoding is decoded.
func NamesParameter(text string, colon bool) (line, secret bool) {
	if end, _ := nameEnd(text, len(text)); endsUnlikeAName(text[:end], false) {
		return false, false
	}
	for range maxLayers {
		if name, quoted := nameBefore(text, len(text)); name != "" {
			v := judgeDecoded(name)
			if v != readable && (v != secretField || !colon || quoted) {
				return v == secretLine, true
			}
		}
		var wrapped bool
		if text, wrapped = peel(text); !wrapped {
			break
		}
	}
	return false, false
}

// nameBefore returns the name that ends before s[i], and whether it is quoted.
func nameBefore(s string, i int) (name string, quoted bool) {
	end, quoted := nameEnd(s, i)
	start := end
	for start > 0 && (inName[s[start-1]] || s[start-1] >= 0x80) {
		start--
	}
	return s[start:end], quoted
}

// nameEnd returns where such a name would end.
func nameEnd(s string, i int) (end int, quoted bool) {
	end = i
	for end > 0 && (s[end-1] == ' ' || s[end-1] == '\t') {
		end--
	}
	for end > 0 && quotes[s[end-1]] {
		end--
		quoted = true
	}
	return end, quoted
}

var (
	quotes = byteSet("\"'`\\")
	inName = byteSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.[]%$\\")
)

// valueAt measures the value that begins at s[start]. Where its end is in doubt
// it is taken to be longer.
func valueAt(s string, start int, v verdict) (from, to int) {
	if v == secretLine {
		to = start
		for to < len(s) && s[to] != '\r' && s[to] != '\n' {
			to++
		}
		return start, to
	}
	open := start
	for open < len(s) && s[open] == '\\' {
		open++
	}
	if open == len(s) {
		return start, open
	}
	switch q := s[open]; q {
	case '{', '[':
		return start, len(s)
	case '"', '\'', '`':
		return open + 1, closingQuote(s, open+1, q, open-start)
	}
	to = start
	for to < len(s) && !endsValue[s[to]] {
		to++
	}
	if begin := strings.Index(s[start:to], "-----BEGIN"); begin >= 0 {
		if _, end := keyFile(s, start+begin); end > to {
			to = end
		}
	}
	return start, to
}

var endsValue = byteSet(" \t\r\n&\"'<>")

// closingQuote finds the q that ends a string opened with that many backslashes
// before its quote. More of them stand before a quote inside the string.
func closingQuote(s string, i int, q byte, backslashes int) int {
	run := 0
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			run++
			continue
		case s[i] == q && run <= backslashes:
			return i - run
		}
		run = 0
	}
	return len(s)
}
