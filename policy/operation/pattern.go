// Patterns of paths, and what to write for an operation that is in no index.

package operation

import (
	"net/url"
	"regexp"
	"strings"
)

var (
	plainWord = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)
	ident     = regexp.MustCompile(`^(?i:[0-9]+|[0-9a-f]{8}-[0-9a-f-]{27})$`)
)

// Pattern is the pattern of a path for the matcher path: ids, and what has a meaning
// in patterns, become a *. path is decoded.
func Pattern(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s != "" && (!plainWord.MatchString(s) || ident.MatchString(s)) {
			segments[i] = "*"
		}
	}
	return strings.Join(segments, "/")
}

// Rule is what a rule says to mean an operation that is in no index: a line each for
// the method, the pattern of the path, and the parameters that select operations of
// some product. path and query are cleaned.
func Rule(method, path, query string) []string {
	pattern, selecting := target(path, query)
	lines := []string{"method " + method, "path " + pattern}
	if selecting != "" {
		lines = append(lines, "query "+strings.ReplaceAll(selecting, "&", " "))
	}
	return lines
}

// target is the pattern of a path, and the parameters that select an operation if a
// matcher can name them.
func target(path, query string) (pattern, selecting string) {
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if selecting = Selecting(query); !querySafe.MatchString(selecting) {
		selecting = ""
	}
	return Pattern(path), selecting
}

var querySafe = regexp.MustCompile(`^[A-Za-z0-9._~=&-]{1,128}$`)

// Advice names an operation that a rule about classes has not let through because it
// is in no index, and says how to allow it: by a line of a Caddyfile, which begins after
// the last colon. It is empty for an operation that has a class.
func Advice(op Operation, method, path, query string) string {
	if op.Class != Unknown {
		return ""
	}
	fault := "is not in the index"
	if op.Path != "" {
		fault = "has no class"
	}
	pattern, selecting := target(path, query)
	what, expression := method+" "+pattern, "method('"+method+"') && path('"+pattern+"')"
	if selecting != "" {
		what += " with " + strings.ReplaceAll(selecting, "&", " ")
		for parameter := range strings.SplitSeq(selecting, "&") {
			name, value, _ := strings.Cut(parameter, "=")
			expression += " && query({'" + name + "': '" + value + "'})"
		}
	}
	return "; the operation " + what + " " + fault + ", so no preset allows it; to allow it, write before the other rules: allow `" + expression + "`"
}
