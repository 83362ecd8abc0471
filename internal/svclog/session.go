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
	for end = start; end < len(s) && (s[end] == '-' || isAlphanumeric(s[end])); end++ {
	}
	return start, end
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
