// This file holds a line taken apart.

package svclog

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is the kind of a line.
type Kind string

// Kinds of lines. Unframed is a line without a frame, such as one that an editor or a
// mail program has broken.
const (
	KindRequest       Kind = "request"
	KindResponse      Kind = "response"
	KindAuthenticated Kind = "authenticated"
	KindLoginFailed   Kind = "login_failed"
	KindException     Kind = "exception"
	KindStack         Kind = "stack"
	KindText          Kind = "text"
	KindUnframed      Kind = "unframed"
)

// Record is a parsed line. It is masked again, because an older version or another
// program may have written secrets. Escapes stay as they were written.
type Record struct {
	// Time is the time of the line. An unframed line has that of the line before.
	Time time.Time `json:"time,omitzero"`
	// Thread is the number in <NN>.
	Thread uint32 `json:"thread"`
	// Level is the word of the level column.
	Level string `json:"level,omitempty"`
	// Kind tells which of the following fields are set.
	Kind Kind `json:"kind"`
	// User is the user of a request or login. For a response it is the user of its
	// request, if that is known.
	User string `json:"user,omitempty"`
	// Method and Path are those of a request or response. Path includes the query.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Status is the HTTP status of a response.
	Status int `json:"status,omitempty"`
	// Body is the body of a request or response.
	Body string `json:"body,omitempty"`
	// Parameters are the headers of a request.
	Parameters Parameters `json:"parameters,omitempty"`
	// RequestID is the id of the request, empty if the line has none.
	RequestID string `json:"request_id,omitempty"`
	// TraceID is the id of the trace of a request, 32 hexadecimal digits, empty if the
	// line has none.
	TraceID string `json:"trace_id,omitempty"`
	// Chain is the place of the line in a hash chain, as segment and number, empty if the
	// line has none.
	Chain string `json:"chain,omitempty"`
	// Message is the text of all other kinds of lines, without the frame.
	Message string `json:"message,omitempty"`
	// Type is the type of an exception.
	Type string `json:"type,omitempty"`
}

// Parameter is one header of a request line.
type Parameter struct{ Name, Value string }

// Parameters are the headers of a request line, in order.
type Parameters []Parameter

// MarshalJSON writes the parameters as an object, in order.
func (p Parameters) MarshalJSON() ([]byte, error) {
	dst := []byte{'{'}
	for i, parameter := range p {
		if i > 0 {
			dst = append(dst, ',')
		}
		for j, text := range [...]string{parameter.Name, parameter.Value} {
			if j > 0 {
				dst = append(dst, ':')
			}
			quoted, err := json.Marshal(text)
			if err != nil {
				return nil, err
			}
			dst = append(dst, quoted...)
		}
	}
	return append(dst, '}'), nil
}

// The expressions that take a line apart. The frame, the request and the
// response are those that accept Veeam's own lines.
var (
	frameLine    = expression(`^\[(\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}(?:\.\d{3})?)\] <(\d{2,})> (\w+)( +)(.*)$`)
	requestLine  = expression(`^\[User: ([^\]]*)\]\[([A-Z]+)\] request to \[([^\]]*)\] deserialized\. Message: \[(.*)\]; Parameters: \[(.*?)\]\.$`)
	responseLine = expression(`^\[([A-Z]+) (\S+)\]: \[(\d{3})\] ?(.*)$`)

	responseID    = expression(`^(?:(.*) )?\[` + requestIDName + `: ([^\]]*)\]$`)
	traceID       = expression(`^[0-9a-f]{32}$`)
	authenticated = expression(`^Authenticated user: \[([^\]]*)\]$`)
	loginFailed   = expression(`^Login failed for user '([^']*)'\.$`)
	exceptionLine = expression(`^(.*) \((\w+(?:[.+]\w+)+)\)$`)
)

// chainField is what stands at the end of the lines of a hash chain, see internal/logchain.
var chainField = expression(`^(.*) \[(?:Chain|Signed): ([\w-]{11}\.[1-9]\d{0,18}) [\w-]{43}\]$`)

// expression compiles an expression when it is first needed.
func expression(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

const (
	stampLayout      = "02.01.2006 15:04:05"
	stampLayoutMilli = "02.01.2006 15:04:05.000"
)

// Parse parses one line without its line end. zone is the time zone of its time.
func Parse(line string, zone *time.Location) Record {
	chain := ""
	if m := chainField().FindStringSubmatch(line); m != nil {
		line, chain = m[1], m[2]
	}
	r := parse(line, zone)
	r.Chain = chain
	r.mask()
	return r
}

func parse(line string, zone *time.Location) Record {
	frame := frameLine().FindStringSubmatch(line)
	if frame == nil {
		return Record{Kind: KindUnframed, Message: line}
	}
	layout := stampLayout
	if len(frame[1]) > len(layout) {
		layout = stampLayoutMilli
	}
	at, err := time.ParseInLocation(layout, frame[1], zone)
	if err != nil {
		return Record{Kind: KindUnframed, Message: line}
	}
	r := Record{Time: at, Level: frame[3]}
	if thread, err := strconv.ParseUint(frame[2], 10, 32); err == nil {
		r.Thread = uint32(thread)
	}
	r.parseMessage(frame[5], len(frame[3])+len(frame[4]) > levelWidth)
	return r
}

// parseMessage fills r from the message of a line.
func (r *Record) parseMessage(message string, indented bool) {
	if m := requestLine().FindStringSubmatch(message); m != nil {
		r.Kind = KindRequest
		r.User, r.Method, r.Path, r.Body = m[1], m[2], m[3], m[4]
		for name, value := range entriesOf(m[5]) {
			if name == requestIDName && value != "" && len(r.Parameters) == 0 && r.RequestID == "" && r.TraceID == "" {
				r.RequestID = value
				continue
			}
			if name == traceIDName && traceID().MatchString(value) && len(r.Parameters) == 0 && r.TraceID == "" {
				r.TraceID = value
				continue
			}
			r.Parameters = append(r.Parameters, Parameter{name, value})
		}
		return
	}
	if m := responseLine().FindStringSubmatch(message); m != nil {
		r.Kind = KindResponse
		r.Method, r.Path, r.Body = m[1], m[2], m[4]
		r.Status, _ = strconv.Atoi(m[3]) // three digits
		if id := responseID().FindStringSubmatch(r.Body); id != nil {
			r.Body, r.RequestID = id[1], id[2]
		}
		return
	}
	r.Kind, r.Message = KindText, message
	switch {
	case indented && strings.HasPrefix(message, "at "):
		r.Kind = KindStack
	case authenticated().MatchString(message):
		r.Kind, r.User = KindAuthenticated, authenticated().FindStringSubmatch(message)[1]
	case loginFailed().MatchString(message):
		r.Kind, r.User = KindLoginFailed, loginFailed().FindStringSubmatch(message)[1]
	case r.Level == LevelError && exceptionLine().MatchString(message):
		m := exceptionLine().FindStringSubmatch(message)
		r.Kind, r.Message, r.Type = KindException, m[1], m[2]
	}
}

// mask masks what was read.
func (r *Record) mask() {
	r.User, r.RequestID, r.Message = masked(r.User), masked(r.RequestID), masked(r.Message)
	if r.Path != "" {
		r.Path = string(MaskPath(nil, r.Path))
	}
	if r.Body != "" {
		r.Body = maskedBody(r.Body)
	}
	for i := range r.Parameters {
		p := &r.Parameters[i]
		p.Name, p.Value = masked(p.Name), maskHeaderValue(p.Name, p.Value)
	}
}

func masked(text string) string {
	if text == "" {
		return ""
	}
	return string(MaskText(nil, text))
}

// maskedBody masks a body as it stands in a line: with a note at its end, or
// with one in its place.
func maskedBody(body string) string {
	text, note := splitNote(body)
	dst, end := appendText(nil, []byte(text))
	switch {
	case end == jsonBroken:
		dst, _ = maskText(nil, text)
	case end == jsonIncomplete && note == "":
		note = incomplete
	}
	return string(dst) + note
}

// splitNote splits off the note that a body ends in.
func splitNote(body string) (text, note string) {
	at := strings.LastIndexByte(body, '<')
	if at < 0 {
		return body, ""
	}
	note = body[at:]
	if note == incomplete || strings.HasSuffix(note, notShown) ||
		strings.HasPrefix(note, "<cut after ") && strings.HasSuffix(note, " bytes>") {
		return body[:at], note
	}
	return body, ""
}

// entriesOf ranges over the entries "Name: value; " of a list.
func entriesOf(list string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for len(list) > 0 {
			size, ok := entryAt(list)
			if !ok {
				return
			}
			name, rest := list[:size], list[size+2:]
			end := valueEnd(rest)
			if !yield(name, rest[:end]) {
				return
			}
			list = strings.TrimPrefix(rest[end:], "; ")
		}
	}
}

// valueEnd returns where the value at the beginning of a list ends.
func valueEnd(list string) int {
	for at := 0; ; at++ {
		next := strings.Index(list[at:], "; ")
		if next < 0 {
			return len(list)
		}
		at += next
		if at+2 == len(list) {
			return at
		}
		if _, ok := entryAt(list[at+2:]); ok {
			return at
		}
	}
}
