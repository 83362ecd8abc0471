// What the server is asked for, so that its answer can be searched.

package answer

import (
	"net/http"
	"net/http/httptrace"
	"strings"
)

// Ask changes the headers of a request so that the response can be searched as the
// terms require. The request must not be shared.
func (t Terms) Ask(req *http.Request) {
	switch {
	case t.Filter:
		askReadable(req.Header)
	case t.Tokens, t.Linked:
		askWhole(req.Header)
	}
}

// AskOnce has the server's answer alone passed on. What comes before it, such as early hints,
// is not: nothing looks at it. The context of the request must not be shared.
func AskOnce(req *http.Request) {
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
		trace.Got1xxResponse = nil
	}
}

var identityOnly = []string{"identity"}

// askWhole asks for an answer that can be searched for tokens and sessions.
func askWhole(header http.Header) {
	header["Accept-Encoding"] = identityOnly
	delete(header, "Range")
	delete(header, "If-Range")
}

// askReadable asks for an answer that can be searched and that the client can read:
// the whole of it, as JSON, in UTF-8, packed with gzip at most.
func askReadable(header http.Header) {
	header["Accept-Encoding"] = []string{readableCoding(header["Accept-Encoding"])}
	header["Accept"] = []string{readableTypes(header["Accept"])}
	// Nor for a part, for trailers, or for a connection that is no answer any more.
	for _, name := range []string{"Range", "If-Range", "Accept-Charset", "Te", "Upgrade", "Connection"} {
		delete(header, name)
	}
}

// readableCoding is gzip, if the client takes it, or none.
func readableCoding(accepted []string) string {
	for _, value := range accepted {
		for coding := range strings.SplitSeq(value, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") && !refusedCoding(weight) {
				return "gzip"
			}
		}
	}
	return "identity"
}

// refusedCoding reports whether the weight behind a coding is zero.
func refusedCoding(weight string) bool {
	_, q, _ := strings.Cut(strings.ReplaceAll(weight, " ", ""), "=")
	return q != "" && strings.Trim(q, "0.") == ""
}

// readableTypes are those of the types that a client accepts that it could get, or
// JSON.
func readableTypes(accepted []string) string {
	var kept []string
	for _, value := range accepted {
		for part := range strings.SplitSeq(value, ",") {
			part = strings.TrimSpace(part)
			kind, _, _ := strings.Cut(strings.ToLower(part), ";")
			kind = strings.TrimSpace(kind)
			if jsonType(kind) || passesUnread(kind) {
				kept = append(kept, part)
			}
		}
	}
	if len(kept) == 0 {
		return typeJSON
	}
	return strings.Join(kept, ", ")
}
