// The errors of Enterprise Manager: XML, or JSON on request, with names that depend on
// the version.

package veeam

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// Format is the format of a response body, for products that have several.
type Format int

// The formats. A client requests JSON by its Accept header; the version of the server
// determines the spelling of names.
const (
	FormatXML    Format = iota
	FormatPascal        // JSON with names such as StatusCode: Enterprise Manager 12
	FormatCamel         // JSON with names such as statusCode: Enterprise Manager 13
)

// FormatOf returns the format that a client accepts. camel reports whether the server
// uses the names of FormatCamel.
func FormatOf(h http.Header, camel bool) Format {
	accept := strings.ToLower(strings.Join(h["Accept"], ","))
	at, other := strings.Index(accept, "application/json"), strings.Index(accept, "xml")
	switch {
	case at < 0, other >= 0 && other < at:
		return FormatXML
	case camel:
		return FormatCamel
	}
	return FormatPascal
}

// Spelling is how a server spells JSON names, as its latest response to a login shows.
// The zero value and nil stand for FormatCamel. It is safe for concurrent use.
type Spelling struct{ pascal atomic.Bool }

// Spelling returns a new Spelling for the servers of the product, nil if they spell all
// names alike.
func (p *Product) Spelling() *Spelling {
	if !p.formats {
		return nil
	}
	return new(Spelling)
}

// See records the spelling of a response, if the response shows one.
func (s *Spelling) See(shape *Shape) {
	if s == nil || !shape.spells() {
		return
	}
	if pascal := !shape.Camel(); s.pascal.Load() != pascal {
		s.pascal.Store(pascal)
	}
}

// Camel reports whether the server uses the names of FormatCamel.
func (s *Spelling) Camel() bool { return s == nil || !s.pascal.Load() }

// ContentType returns the Content-Type of a body in the format.
func (f Format) ContentType() string {
	if f == FormatXML {
		return "application/xml; charset=utf-8"
	}
	return contentJSON
}

// Name returns the name of a JSON field in the format. pascal is its name in
// FormatPascal.
func (f Format) Name(pascal string) string {
	if f == FormatCamel && pascal != "" {
		return strings.ToLower(pascal[:1]) + pascal[1:]
	}
	return pascal
}

// Namespace is the XML namespace of all documents of Enterprise Manager.
const Namespace = "http://www.veeam.com/ent/v1.0"

func appendEMError(dst []byte, r Refusal, _ *refusalForm) ([]byte, string) {
	if r.Format == FormatXML {
		dst = append(dst, xml.Header+`<Error xmlns="`+Namespace+`" Message="`...)
		dst = append(dst, XMLText(r.Message)...)
		dst = append(dst, `" StatusCode="`...)
		dst = strconv.AppendInt(dst, int64(r.Status), 10)
		return append(dst, `"></Error>`...), r.Format.ContentType()
	}
	name := func(dst []byte, pascal string) []byte { return append(appendString(dst, r.Format.Name(pascal)), ':') }
	dst = name(append(dst, '{'), "FirstChanceExceptionMessage")
	dst = name(append(dst, "null,"...), "Message")
	dst = name(append(appendString(dst, r.Message), ','), "StackTrace")
	dst = name(append(dst, "null,"...), "Status")
	dst = name(append(dst, "null,"...), "StatusCode")
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	return append(dst, '}'), r.Format.ContentType()
}

// XMLText escapes a text for XML element content and attribute values.
func XMLText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // writing to memory
	return b.String()
}
