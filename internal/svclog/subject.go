// This file holds what an entry is about, and its lines.

package svclog

import (
	"reflect"
	"strings"

	"go.uber.org/zap/zapcore"
)

// Subject is what of the fields of an entry has a place of its own in its lines.
type Subject struct {
	Request  *Request
	Response *Response
	Err      error
	Thread   uint32
}

// Take takes a field that has a place of its own, and reports whether it has one.
func (s *Subject) Take(field *zapcore.Field) bool {
	switch field.Type {
	case zapcore.ObjectMarshalerType:
		object, _ := field.Interface.(zapcore.ObjectMarshaler)
		return s.TakeObject(object)
	case zapcore.Uint32Type:
		if field.Key == ThreadKey {
			s.Thread = uint32(field.Integer)
			return true
		}
	case zapcore.ErrorType:
		if err, ok := field.Interface.(error); ok && s.Err == nil {
			s.Err = err
			return true
		}
	}
	return false
}

// TakeObject takes a request or a response.
func (s *Subject) TakeObject(object zapcore.ObjectMarshaler) bool {
	switch object := object.(type) {
	case *Request:
		s.Request = object
	case *Response:
		s.Response = object
	default:
		return false
	}
	return true
}

// Whole reports whether the lines are those of a request or a response, and have no place
// for other fields.
func (s *Subject) Whole() bool { return s.Request != nil || s.Response != nil }

// AppendSubject appends the lines of an entry: the request and the response, or its
// message with other fields as a JSON object, which may be empty, its error and its stack.
func (l Renderer) AppendSubject(dst []byte, entry zapcore.Entry, s *Subject, fields []byte) []byte {
	if s.Whole() {
		if s.Request != nil {
			dst = l.AppendRequest(dst, entry.Time, entry.Level, s.Request)
		}
		if s.Response != nil {
			dst = l.AppendResponse(dst, entry.Time, entry.Level, s.Response)
		}
		return dst
	}
	dst = l.AppendSentence(dst, entry.Time, entry.Level, s.Thread, entry.Message, fields)
	if s.Err != nil {
		dst = l.AppendSentence(dst, entry.Time, entry.Level, s.Thread, Exception(s.Err.Error(), typeOf(s.Err)), nil)
	}
	return l.AppendStack(dst, entry.Time, entry.Level, s.Thread, entry.Stack)
}

// Line returns the lines of an entry without other fields, as AppendSubject appends them,
// but without an id and the last line end. Whoever renders the same request or response
// after that copies its message.
func (l Renderer) Line(entry zapcore.Entry, s *Subject) string {
	var space [1 << 10]byte
	line := space[:0]
	l.RequestID = false
	switch {
	case s.Request != nil && s.Response == nil:
		line = appendPrefix(line, entry.Time, s.Request.Thread, LevelWord(entry.Level), l.UTC)
		start := len(line)
		line, at := appendRequest(line, s.Request, "")
		text := string(line)
		s.Request.kept, s.Request.keptAt = text[start:], at
		return text
	case s.Response != nil && s.Request == nil:
		line = appendPrefix(line, entry.Time, s.Response.Thread, LevelWord(entry.Level), l.UTC)
		start := len(line)
		text := string(appendResponse(line, s.Response, ""))
		s.Response.kept = text[start:]
		return text
	}
	line = l.AppendSubject(line, entry, s, nil)
	return string(line[:len(line)-1])
}

// typeOf names the type of an error, unless it is one that tells nothing.
func typeOf(err error) string {
	name := strings.TrimPrefix(reflect.TypeOf(err).String(), "*")
	if strings.HasPrefix(name, "errors.") || strings.HasPrefix(name, "fmt.") {
		return ""
	}
	return name
}
