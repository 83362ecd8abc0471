// Secrets in paths: ids of Enterprise Manager's sessions, with which whoever reads one holds
// the session, and device codes.

package svclog

import (
	"path"
	"slices"
	"strings"
)

// sessionPath stands before the id of a session, also where the slash is escaped.
const sessionPath = "logonsessions"

// sessionID finds the GUID behind logonSessions/ whose first hyphen is at s[i].
func sessionID(s string, i int) (start, end int) {
	const first = 8
	start = i - first
	if start < len(sessionPath)+1 {
		return 0, 0
	}
	before := strings.ToLower(s[max(0, start-len(sessionPath)-3):start])
	found := false
	for _, slash := range [...]string{"/", `\/`, "%2f", `\`} {
		if rest, ok := strings.CutSuffix(before, slash); ok && strings.HasSuffix(rest, sessionPath) {
			found = true
		}
	}
	if !found {
		return 0, 0
	}
	end = start
	for end < len(s) && (s[end] == '-' || isAlphanumeric(s[end])) {
		end++
	}
	return start, end
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// secretSegments are the segments of a path behind which a secret stands, in lower case: the
// id of a session, whatever it is, because some clients write what they send in the header, and
// the code with which a person lets an application in at Microsoft.
var secretSegments = [...]string{sessionPath, "appregistration", "devicecode"}

// notSecret are operations in its place: POST /v8/DeviceCode/check.
var notSecret = [...]string{"check", "state"}

// secretSegment finds the first secret that is a segment of a path.
func secretSegment(text string) (start, end int) {
	for i := range len(text) {
		name := ""
		switch text[i] | 0x20 {
		case 'l', 'a', 'd':
			name = secretSegmentAt(text[i:])
		}
		if name == "" {
			continue
		}
		rest := text[i+len(name):]
		for _, slash := range [...]string{"/", `\`, "%2f", "%5c"} {
			if len(rest) <= len(slash) || !strings.EqualFold(rest[:len(slash)], slash) {
				continue
			}
			start = i + len(name) + len(slash)
			if end = strings.IndexAny(text[start:], `/\`); end < 0 {
				end = len(text) - start
			}
			end += start
			if start < end && !slices.ContainsFunc(notSecret[:], func(other string) bool { return strings.EqualFold(text[start:end], other) }) {
				return start, end
			}
		}
	}
	return 0, 0
}

// respelled reports whether servers find other secrets in a path than secretSegment does: in a
// name with escapes, or behind empty segments and those of dots.
func respelled(text string) bool {
	if !strings.ContainsAny(text, `%\`) && !strings.Contains(text, "//") && !strings.Contains(text, "/.") {
		return false
	}
	plain := path.Clean(strings.ReplaceAll(peelAll(text), `\`, "/"))
	for {
		from, to := secretSegment(text)
		plainFrom, plainTo := secretSegment(plain)
		if peelAll(text[from:to]) != plain[plainFrom:plainTo] {
			return true
		}
		if from == to {
			return false
		}
		text, plain = text[to:], plain[plainTo:]
	}
}

// peelAll removes all layers of encoding, up to maxLayers.
func peelAll(text string) string {
	for range maxLayers {
		inner, wrapped := peel(text)
		if !wrapped {
			break
		}
		text = inner
	}
	return text
}

// secretSegmentAt returns the one that a text begins with.
func secretSegmentAt(s string) string {
	for _, name := range secretSegments {
		if len(s) > len(name) && strings.EqualFold(s[:len(name)], name) {
			return name
		}
	}
	return ""
}
