// Which answers of the server can be passed without their secrets, and what becomes
// of all others.

package answer

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
	"strconv"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/filter"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const typeJSON = "application/json"

// unreadTypes are the media that are passed without being read: they show pictures
// or sound, and carry no text that a program would read. Their bodies have to begin
// as their type says. Everything else is read, or refused. SVG is XML, and archives
// and documents carry anything.
var unreadTypes = []string{
	"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon",
	"font/woff", "font/woff2", "audio/mpeg", "audio/wave", "video/mp4", "video/webm",
}

func passesUnread(kind string) bool { return slices.Contains(unreadTypes, kind) }

// jsonType reports whether a media type is one of JSON's. Bodies of other types are
// read as JSON, too, if they begin as an object or a list: a number or a word of a
// text may be anything.
func jsonType(kind string) bool {
	return kind == typeJSON || kind == "text/json" || strings.HasSuffix(kind, "+json")
}

// withoutSecrets returns the answer without secrets, or a refusal in its place if
// it cannot be searched.
func (x *Exchange) withoutSecrets(res *http.Response) (*http.Response, *veeam.Refusal) {
	if !x.Filter {
		return res, nil
	}
	maskHeader(res.Header)
	if res.StatusCode == http.StatusSwitchingProtocols {
		return x.unreadable(res, "it switches to another protocol")
	}
	if x.bodyless(res) {
		if x.Request.Method == http.MethodHead { // the length of a secret is a part of it
			otherBytes(res)
		}
		return res, nil
	}
	if res.StatusCode < http.StatusBadRequest && svclog.AnswersUnnamedSecret(x.Request.URL.Path) {
		return x.unreadable(res, "it is a secret without a name")
	}
	body, fault := searchable(res)
	if fault != "" {
		return x.unreadable(res, fault)
	}
	if body == nil {
		return res, nil
	}
	length := res.ContentLength
	res.Body = body
	otherBytes(res)
	if 0 < length && length <= shortLength {
		if err := atOnce(res, length); unreadable(err) {
			return x.unreadable(res, err.Error())
		}
		return res, nil
	}
	res.Body = &filteredBody{ReadCloser: body, journal: x.Journal}
	return res, nil
}

// shortLength is how long a body may be that is filtered before any of it is passed on.
const shortLength = 16 << 10

// atOnce reads a body of known length, so that the answer has a length again and is sent in one
// piece. If the body ends early, so does the answer, which has no length then.
func atOnce(res *http.Response, length int64) error {
	var text bytes.Buffer
	text.Grow(int(length) + bytes.MinRead)
	body := struct {
		io.Reader
		io.Closer
	}{&text, res.Body}
	_, err := text.ReadFrom(res.Body)
	if err != nil {
		body.Reader = io.MultiReader(&text, failing{err})
	} else {
		res.ContentLength = int64(text.Len())
		res.Header["Content-Length"] = []string{strconv.Itoa(text.Len())}
	}
	res.Body = body
	return err
}

// unpacked takes gzip off an answer that is filtered, so that all that search it see
// the same.
func (x *Exchange) unpacked(res *http.Response) *http.Response {
	if !x.Filter || x.bodyless(res) || res.StatusCode == http.StatusSwitchingProtocols || partial(res) {
		return res
	}
	if coding, ok := codingOf(res.Header); ok && coding == "gzip" {
		res.Body = &gunzip{ReadCloser: res.Body}
		delete(res.Header, "Content-Encoding")
		otherBytes(res)
	}
	return res
}

// otherBytes takes from an answer what tells of the server's very bytes.
func otherBytes(res *http.Response) {
	res.ContentLength = -1
	for _, name := range ofTheWhole {
		delete(res.Header, name)
	}
}

func partial(res *http.Response) bool {
	return res.StatusCode == http.StatusPartialContent || len(res.Header["Content-Range"]) > 0
}

// unreadable refuses an answer that cannot be searched.
func (x *Exchange) unreadable(res *http.Response, fault string) (*http.Response, *veeam.Refusal) {
	x.Journal.Error(svclog.Exception("The answer is not forwarded, because it cannot be searched for secrets: "+fault+".", journal.TypeOfReason(veeam.ReasonUnreadableAnswer)))
	return x.refuse(res, veeam.Refusal{
		Status: http.StatusBadGateway, Reason: veeam.ReasonUnreadableAnswer,
		Message: "The server's answer cannot be searched for secrets and is not forwarded. See the log of veeam-auth.",
	})
}

// searchable returns what the answer's body becomes: one that is filtered, or nil if it
// stays as it is. fault says why it cannot be read.
func searchable(res *http.Response) (body io.ReadCloser, fault string) {
	kind, fault := mediaTypeOf(res.Header)
	if fault == "" && partial(res) {
		fault = "it is a partial answer"
	}
	if coding, ok := codingOf(res.Header); fault == "" && (!ok || coding != "") {
		fault = "its encoding is neither gzip nor identity"
	}
	if fault != "" {
		return nil, fault
	}
	known := res.ContentLength >= 0
	head, err := beginning(res.Body, res.ContentLength)
	whole := io.MultiReader(bytes.NewReader(head), failing{err})
	if err == nil {
		whole = io.MultiReader(bytes.NewReader(head), res.Body)
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{whole, res.Body}
	switch text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n"); {
	case unreadable(err):
		return nil, "it does not match its content encoding"
	case len(text) == 0 && err != nil: // an empty answer, or none because of a fault
	case passesUnread(kind) && looksLike(head, kind):
		return nil, ""
	case len(text) == 0 || !beginsJSON[text[0]] || !jsonType(kind) && text[0] != '{' && text[0] != '[':
		return nil, "it is not JSON"
	}
	if known {
		return filter.JSONInBulk(res.Body), ""
	}
	return filter.JSON(res.Body), ""
}

// beginsJSON marks the bytes that a JSON document can begin with.
var beginsJSON = func() (set [256]bool) {
	for _, c := range []byte("{[\"-0123456789tfn") {
		set[c] = true
	}
	return set
}()

const (
	// sniffLength is how much of a body tells what it is, and how many blanks may lead
	// a document.
	sniffLength = 512

	// sniffRoom is how much is read of a body at first.
	sniffRoom = 4 << 10
)

// beginning reads a body up to its first byte that is no blank, which is enough for
// JSON; of others some more. length is that of the body, -1 if it is not known.
func beginning(body io.Reader, length int64) (head []byte, err error) {
	room := int64(sniffRoom)
	if length >= 0 {
		room = max(sniffLength, min(room, length))
	}
	head = make([]byte, 0, room)
	for err == nil && len(head) < sniffLength {
		var n int
		n, err = body.Read(head[len(head):room])
		head = head[:len(head)+n]
		if text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n"); len(text) > 0 && (len(text) > 16 || beginsJSON[text[0]]) {
			break
		}
	}
	return head, err
}

// looksLike reports whether a body begins as its type says.
func looksLike(head []byte, kind string) bool {
	found := http.DetectContentType(head)
	if kind == "image/vnd.microsoft.icon" {
		kind = "image/x-icon"
	}
	return found == kind
}

// mediaTypeOf is the one media type that an answer claims, or why it is no type of a
// body that can be read.
func mediaTypeOf(header http.Header) (kind, fault string) {
	values := header["Content-Type"]
	if len(values) > 1 {
		return "", "it has more than one content type"
	}
	if len(values) == 0 || strings.TrimSpace(values[0]) == "" {
		return "", ""
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return "", "its content type is invalid"
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252":
		return kind, ""
	}
	return "", "it is not in UTF-8"
}

// maskHeader takes the secrets out of the header of an answer.
func maskHeader(header http.Header) {
	for name, values := range header {
		if svclog.SecretHeader(name) {
			delete(header, name)
			continue
		}
		for i, value := range values {
			values[i] = string(svclog.MaskText(nil, value))
		}
	}
}

// ofTheWhole are the headers that tell something of the very bytes of the server.
var ofTheWhole = []string{
	"Content-Length", "Etag", "Accept-Ranges", "Digest", "Content-Digest", "Repr-Digest", "Content-Md5",
}

// bodyless reports whether there is nothing to search: no answer to HEAD has a
// body.
func (x *Exchange) bodyless(res *http.Response) bool {
	return x.Request.Method == http.MethodHead || res.StatusCode == http.StatusNoContent ||
		res.StatusCode == http.StatusNotModified || res.Body == nil || res.Body == http.NoBody || res.ContentLength == 0
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

// failing is a reader that has nothing but an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// filteredBody writes into the log why a body has ended early.
type filteredBody struct {
	io.ReadCloser
	journal journal.Journal
	said    bool
}

func (b *filteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if unreadable(err) && !b.said {
		b.said = true
		b.journal.Error(svclog.Exception(fmt.Sprintf("The rest of the answer is not forwarded, because it cannot be searched for secrets: %v.", err), journal.TypeOfReason(veeam.ReasonUnreadableAnswer)))
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
