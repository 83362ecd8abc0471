// This file holds the rendering of whole log entries to lines.

package svclog

import (
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// Renderer writes log entries as framed lines. The zero Renderer writes local time and
// no request ids.
type Renderer struct {
	// UTC writes the time in UTC.
	UTC bool
	// RequestID writes the id of the request: as the first parameter of the request
	// line, "Request-id: …", and at the end of the response line, "[Request-id: …]".
	RequestID bool
}

// AppendRequest appends the request line of r.
func (l Renderer) AppendRequest(dst []byte, t time.Time, level zapcore.Level, r *Request) []byte {
	dst = appendPrefix(dst, t, r.Thread, LevelWord(level), l.UTC)
	dst, _ = appendRequest(dst, r, l.id(r.RequestID))
	return append(dst, '\n')
}

// AppendResponse appends the response line of r.
func (l Renderer) AppendResponse(dst []byte, t time.Time, level zapcore.Level, r *Response) []byte {
	dst = appendPrefix(dst, t, r.Thread, LevelWord(level), l.UTC)
	return append(appendResponse(dst, r, l.id(r.RequestID)), '\n')
}

// AppendSentence appends the line of any other message, masked. fields is a JSON object
// that follows the message and is masked as JSON. It may be empty. A sentence never
// begins with "[", so that it is not taken for a request or response.
func (l Renderer) AppendSentence(
	dst []byte, t time.Time, level zapcore.Level, thread uint32, message string, fields []byte,
) []byte {
	dst = appendPrefix(dst, t, thread, LevelWord(level), l.UTC)
	start := len(dst)
	dst = MaskText(dst, message)
	if start < len(dst) && dst[start] == '[' {
		tail := string(dst[start+1:])
		dst = append(appendEscape(dst[:start], '['), tail...)
	}
	if len(fields) > 0 {
		dst = append(dst, ' ')
		dst = MaskJSON(dst, fields)
	}
	dst = cleanTail(dst, start)
	return append(dst, '\n')
}

// AppendStack appends one line for each frame of a stack trace of zap, in the form that
// Veeam's service writes below an exception: " at function in file:line".
func (l Renderer) AppendStack(dst []byte, t time.Time, level zapcore.Level, thread uint32, stack string) []byte {
	for stack != "" {
		var function, place string
		function, stack, _ = strings.Cut(stack, "\n")
		place, stack, _ = strings.Cut(stack, "\n")
		dst = appendPrefix(dst, t, thread, LevelWord(level), l.UTC)
		start := len(dst)
		dst = append(append(dst, "   at "...), function...)
		if len(place) > 1 {
			dst = append(append(dst, " in "...), place[1:]...) // behind its tab
		}
		dst = append(cleanTail(dst, start), '\n')
	}
	return dst
}

func (l Renderer) id(requestID string) string {
	if l.RequestID {
		return requestID
	}
	return ""
}

// LevelWord returns the word of the level column for a level.
func LevelWord(level zapcore.Level) string {
	switch {
	case level <= zapcore.DebugLevel:
		return LevelDebug
	case level == zapcore.InfoLevel:
		return LevelInfo
	case level == zapcore.WarnLevel:
		return LevelWarning
	}
	return LevelError
}
