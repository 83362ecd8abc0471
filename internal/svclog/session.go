// Ids of Enterprise Manager's sessions: whoever reads one holds the session.

package svclog

import "strings"

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

// sessionSegment finds the segment behind logonSessions/ in a path, whatever it is: some
// clients write what they send in the header.
func sessionSegment(path string) (start, end int) {
	for i := 0; i+len(sessionPath) < len(path); i++ {
		if path[i]|0x20 != sessionPath[0] || !strings.EqualFold(path[i:i+len(sessionPath)], sessionPath) {
			continue
		}
		rest := path[i+len(sessionPath):]
		for _, slash := range [...]string{"/", `\`, "%2f", "%5c"} {
			if len(rest) <= len(slash) || !strings.EqualFold(rest[:len(slash)], slash) {
				continue
			}
			start = i + len(sessionPath) + len(slash)
			if end = strings.IndexAny(path[start:], `/\`); end < 0 {
				return start, len(path)
			}
			return start, start + end
		}
	}
	return 0, 0
}
