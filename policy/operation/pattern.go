// Patterns of paths, and what to write for an operation that is in no index.

package operation

import (
	"net/url"
	"regexp"
	"strings"
	"sync"
)

var (
	plainWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`) })
	ident     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?i:[0-9]+|[0-9a-f]{8}-[0-9a-f-]{27})$`) })
)

// Pattern returns the pattern of a decoded path for the matcher path: ids, and segments
// with characters that have a meaning in patterns, are replaced with *.
func Pattern(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s != "" && (!plainWord().MatchString(s) || ident().MatchString(s)) {
			segments[i] = "*"
		}
	}
	return strings.Join(segments, "/")
}

// Rule returns the lines of a rule that matches an operation outside the index: the
// method, the pattern of the path and, if there are any, the parameters that select
// operations of some product. path and query must be cleaned.
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
	if selecting = Selecting(query); !querySafe().MatchString(selecting) {
		selecting = ""
	}
	return Pattern(path), selecting
}

var querySafe = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._~=&-]{1,128}$`) })

// Advice returns a clause for the log that says that an operation is not in the index,
// or has no class, and how to allow it. The text after its last colon is a line for a
// Caddyfile. It is empty for an operation that has a class.
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
