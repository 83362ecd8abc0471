// Answers without their secrets: for whom, and which answers can be searched.

package caddymodule

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-veeam/veeam-auth/filter"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/svclog"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// FilterSecrets takes the secrets out of the server's JSON answers.
type FilterSecrets struct {
	// The callers who get answers as they are, by the names that rules see as
	// {http.veeam_auth.client}. Beside them, whoever is let in by a rule that names
	// the class `secret` gets the answer of an operation of that class as it is.
	// Default: none.
	Except []string `json:"except,omitempty"`
}

func (f *FilterSecrets) validate() error {
	if f != nil && slices.Contains(f.Except, "") {
		return errors.New("veeam_auth: filter_secrets: the name of a caller is empty")
	}
	return nil
}

// filters reports whether secrets are taken out of the answer.
func (h *Handler) filters(e *exchange) bool {
	if h.FilterSecrets == nil || e.caller.Name != "" && slices.Contains(h.FilterSecrets.Except, e.caller.Name) {
		return false
	}
	rule := e.decision.Rule
	revealed := rule > 0 && e.decision.Allowed && h.Rules[rule-1].reveals && e.operation.Class == operation.Secret
	return !revealed
}

// askReadable asks for an answer that can be searched and that the client can read.
func askReadable(header http.Header) {
	accepted := "identity"
	for _, value := range header["Accept-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") && !refusedCoding(weight) {
				accepted = "gzip"
			}
		}
	}
	header["Accept-Encoding"] = []string{accepted}
}

// refusedCoding reports whether the weight behind a coding is zero.
func refusedCoding(weight string) bool {
	_, q, _ := strings.Cut(strings.ReplaceAll(weight, " ", ""), "=")
	return q != "" && strings.Trim(q, "0.") == ""
}

// withoutSecrets returns the answer without secrets, or a refusal in its place if
// it may hold some and cannot be searched.
func (t *Transport) withoutSecrets(req *http.Request, e *exchange, res *http.Response) *http.Response {
	if e == nil || !e.filter || e.refused != nil || bodyless(req, res) {
		return res
	}
	form := formOf(res.Header)
	fault := ""
	switch {
	case form == formOther:
		return res
	case form == formUnreadable:
		fault = "its type is not JSON but may hold the same"
	case res.StatusCode == http.StatusPartialContent:
		fault = "it is a part of a whole"
	case !utf8Compatible(res.Header):
		fault = "it is not in UTF-8"
	}
	coding, ok := codingOf(res.Header)
	if fault == "" && !ok {
		fault = "its encoding is neither gzip nor identity"
	}
	if fault != "" {
		e.journal.error(svclog.Exception("The answer is not passed on, because it cannot be searched for secrets: "+fault+".", faultType(veeam.ReasonUnreadableAnswer)))
		_ = res.Body.Close()
		e.refused = &veeam.Refusal{
			Status: http.StatusBadGateway, Reason: veeam.ReasonUnreadableAnswer,
			Message: "The server's answer cannot be searched for secrets and is not passed on. See the log of veeam-auth.",
		}
		return refuseResponse(t.product, req, *e.refused)
	}

	body := res.Body
	if coding == "gzip" {
		body = &gunzip{ReadCloser: body}
		res.Header.Del("Content-Encoding")
	}
	if form == formUnknown {
		body = &sniffed{ReadCloser: body, text: len(res.Header["Content-Type"]) > 0}
	} else {
		body = filter.JSON(body)
	}
	res.Body = &filteredBody{ReadCloser: body, journal: &e.journal}
	res.ContentLength = -1
	for _, name := range ofTheWhole {
		delete(res.Header, name)
	}
	return res
}

// ofTheWhole are the headers that tell something of the very bytes of the server.
var ofTheWhole = []string{
	"Content-Length", "Etag", "Accept-Ranges", "Digest", "Content-Digest", "Repr-Digest", "Content-Md5",
}

// bodyless reports whether there is nothing to search: no answer to HEAD has a
// body, and after 101 the connection is no answer any more.
func bodyless(req *http.Request, res *http.Response) bool {
	return req.Method == http.MethodHead || res.StatusCode < http.StatusOK || res.StatusCode == http.StatusNoContent ||
		res.StatusCode == http.StatusNotModified || res.Body == nil || res.Body == http.NoBody || res.ContentLength == 0
}

// form is what an answer is, as far as it matters here.
type form uint8

const (
	formOther      form = iota
	formJSON            // or one of its relatives, which then is found not to be JSON
	formUnknown         // only the beginning of the body can tell
	formUnreadable      // what servers give in place of JSON if they are asked for it
)

// formOf goes by the types that the header names. One that has JSON in it counts
// for all.
func formOf(header http.Header) form {
	types := header["Content-Type"]
	if len(types) == 0 {
		return formUnknown
	}
	result := formOther
	for _, value := range types {
		value, _, _ = strings.Cut(strings.ToLower(value), ";")
		switch value = strings.TrimSpace(value); {
		case strings.Contains(value, "json"):
			return formJSON
		case value == "application/xml", value == "text/xml", value == "application/problem+xml", value == "multipart/byteranges",
			strings.Contains(value, "yaml"), strings.Contains(value, "msgpack"), strings.Contains(value, "bson"):
			result = formUnreadable
		case (value == "" || value == "text/plain") && result == formOther:
			result = formUnknown
		}
	}
	return result
}

// utf8Compatible reports whether the answer claims no charset in which names could
// look otherwise than in UTF-8.
func utf8Compatible(header http.Header) bool {
	for _, value := range header["Content-Type"] {
		_, params, err := mime.ParseMediaType(value)
		if err != nil {
			return !strings.Contains(strings.ToLower(value), "charset") || strings.Contains(strings.ToLower(value), "utf-8")
		}
		switch strings.ToLower(params["charset"]) {
		case "", "utf-8", "utf8", "us-ascii", "iso-8859-1", "windows-1252":
		default:
			return false
		}
	}
	return true
}

// codingOf returns gzip or nothing; ok is false for all other encodings.
func codingOf(header http.Header) (coding string, ok bool) {
	for _, value := range header["Content-Encoding"] {
		for name := range strings.SplitSeq(strings.ToLower(value), ",") {
			switch name = strings.TrimSpace(name); {
			case name == "" || name == "identity":
			case coding == "" && (name == "gzip" || name == "x-gzip"):
				coding = "gzip"
			default:
				return "", false
			}
		}
	}
	return coding, true
}

// gunzip is a body that is unpacked as it is read.
type gunzip struct {
	io.ReadCloser
	unpacked *gzip.Reader
}

func (g *gunzip) Read(p []byte) (n int, err error) {
	if g.unpacked == nil {
		if g.unpacked, err = gzip.NewReader(g.ReadCloser); err != nil {
			g.unpacked = nil
			return 0, err
		}
	}
	return g.unpacked.Read(p)
}

// sniffed is a body that is filtered if it begins as JSON does.
type sniffed struct {
	io.ReadCloser
	text   bool // plain text is likely, such as a log whose lines begin with [date]
	chosen io.Reader
}

func (s *sniffed) Read(p []byte) (int, error) {
	if s.chosen == nil {
		s.chosen = s.choose()
	}
	return s.chosen.Read(p)
}

// sniffLength is how many blanks there may be before a document.
const sniffLength = 512

func (s *sniffed) choose() io.Reader {
	head := make([]byte, 0, sniffLength)
	begins := "{[\"\x00\xfe\xff"
	if s.text {
		begins = "{"
	}
	for len(head) < sniffLength {
		n, err := s.ReadCloser.Read(head[len(head) : len(head)+1])
		head = head[:len(head)+n]
		whole := io.MultiReader(bytes.NewReader(head), s.ReadCloser)
		if err != nil {
			whole = io.MultiReader(bytes.NewReader(head), failing{err})
		}
		var last byte = ' '
		if n > 0 {
			last = head[len(head)-1]
		}
		switch {
		case strings.IndexByte(begins, last) >= 0:
			return filter.JSON(whole)
		case s.text && last == '[':
			begins = "{[\"]"
			s.text = false
		case strings.IndexByte(" \t\r\n\xef\xbb\xbf", last) < 0 || err != nil:
			return whole
		}
	}
	return filter.JSON(io.MultiReader(bytes.NewReader(head), s.ReadCloser))
}

// failing is a reader that has nothing but an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// filteredBody writes into the log why a body has ended early.
type filteredBody struct {
	io.ReadCloser
	journal *journal
	said    bool
}

func (b *filteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if unreadable(err) && !b.said {
		b.said = true
		b.journal.error(svclog.Exception(fmt.Sprintf("The rest of the answer is not passed on, because it cannot be searched for secrets: %v.", err), faultType(veeam.ReasonUnreadableAnswer)))
	}
	return n, err
}

func unreadable(err error) bool {
	if _, corrupt := errors.AsType[flate.CorruptInputError](err); corrupt {
		return true
	}
	for _, fault := range []error{filter.ErrSyntax, filter.ErrEncoding, filter.ErrDepth, gzip.ErrHeader, gzip.ErrChecksum} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}
