// Ids of sessions in the answers of a server whose sessions can be used by whoever knows
// their ids.

package answer

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
)

// withoutSessions masks the ids of sessions in an answer: those of the session that the
// request was sent with, wherever they are, and any that is named as one. An answer that
// cannot be searched is refused.
func (x *Exchange) withoutSessions(res *http.Response) (_ *http.Response, unsearchable string) {
	if x.Site == "" {
		return res, ""
	}
	m := sessionMask{own: x.Sessions}
	for _, values := range res.Header {
		for i, value := range values {
			values[i] = m.text(value)
		}
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, "it switches to another protocol"
	}
	if x.bodyless(res) {
		return res, ""
	}
	if coding, ok := codingOf(res.Header); !ok || coding != "" || partial(res) {
		return res, "it is compressed or partial, which was not requested"
	}
	res.Body = &sessionReader{ReadCloser: res.Body, mask: m, text: isDocument(res.Header)}
	return res, ""
}

// sessionMask masks ids of sessions in text, which keeps its length.
type sessionMask struct {
	own []string // what the session in use is known by
}

// guidLength is the length of a GUID with its hyphens.
const guidLength = 36

// nameLength is how much of the text before a GUID tells what it is.
const nameLength = 128

func (m sessionMask) text(s string) string {
	text := []byte(s)
	m.apply(nil, text)
	return string(text)
}

// apply masks in text; before is what stands before it.
func (m sessionMask) apply(before, text []byte) {
	for _, own := range m.own {
		for at := 0; ; {
			next := bytes.Index(text[at:], []byte(own))
			if next < 0 {
				break
			}
			at += next
			blank(text[at : at+len(own)])
			at += len(own)
		}
	}
	for at := 0; ; {
		next := bytes.IndexByte(text[at:], '-')
		if next < 0 {
			return
		}
		at += next + 1
		begin := at - 9 // the first hyphen is the ninth character
		if begin < 0 || len(text)-begin < guidLength || !beginsGUID(text[begin:begin+guidLength]) {
			continue
		}
		guid := text[begin : begin+guidLength]
		if m.isOwn(guid) || namesSession(tail(before, text[:begin])) {
			blank(guid)
		}
		at = begin + guidLength
	}
}

func (m sessionMask) isOwn(guid []byte) bool {
	for _, own := range m.own {
		if strings.EqualFold(own, string(guid)) {
			return true
		}
	}
	return false
}

// held is how many bytes at the end of text may be the beginning of what is to be masked.
func (m sessionMask) held(text []byte) (most int) {
	for n := min(guidLength-1, len(text)); n > 0 && most == 0; n-- {
		if beginsGUID(text[len(text)-n:]) {
			most = n
		}
	}
	for _, own := range m.own {
		for n := min(len(own)-1, len(text)); n > most; n-- {
			if strings.HasPrefix(own, string(text[len(text)-n:])) {
				most = n
			}
		}
	}
	return most
}

// blank replaces letters and digits by zeros.
func blank(text []byte) {
	for i, c := range text {
		if c != '-' && c != '=' {
			text[i] = '0'
		}
	}
}

// beginsGUID reports whether a GUID may begin with a text.
func beginsGUID(text []byte) bool {
	for i, c := range text {
		if hyphen := i == 8 || i == 13 || i == 18 || i == 23; hyphen != (c == '-') || !hyphen && !isHexDigit(c) {
			return false
		}
	}
	return len(text) <= guidLength
}

// tail is the end of two texts together that tells what follows.
func tail(before, text []byte) []byte {
	if len(text) < nameLength {
		text = append(bytes.Clone(before), text...)
	}
	return text[max(0, len(text)-nameLength):]
}

// separators stand between a name and its value in XML, JSON, paths and URNs.
const separators = " \t\r\n\"'=:/\\>{[("

// namesSession reports whether what follows a text is the id of a session: in the path
// or the URN of one, or in an element, attribute or field SessionId.
func namesSession(text []byte) bool {
	lower := strings.ToLower(string(text))
	// An element may have attributes.
	if open := strings.LastIndexByte(lower, '<'); open >= 0 && strings.HasSuffix(strings.TrimRight(lower, " \t\r\n"), ">") {
		name, _, _ := strings.Cut(lower[open+1:], ">")
		name, _, _ = strings.Cut(name, " ")
		lower = name[strings.LastIndexByte(name, ':')+1:]
	}
	for {
		cut := strings.TrimRight(lower, separators)
		for _, escaped := range [...]string{"%2f", "%3a", "%3d", "%22", "%5c", "&quot;"} {
			cut = strings.TrimSuffix(cut, escaped)
		}
		if cut == lower {
			break
		}
		lower = cut
	}
	if before, ok := strings.CutSuffix(lower, "sessionid"); ok {
		return before == "" || !isLetter(before[len(before)-1]) || strings.HasSuffix(before, "logon")
	}
	return strings.HasSuffix(lower, "logonsession") || strings.HasSuffix(lower, "logonsessions")
}

func isHexDigit(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// isDocument reports whether an answer says that it is XML or JSON.
func isDocument(header http.Header) bool {
	kind, _, _ := strings.Cut(strings.ToLower(header.Get("Content-Type")), ";")
	kind = strings.TrimSpace(kind)
	return strings.HasSuffix(kind, "xml") || strings.HasSuffix(kind, "json")
}

var errNotUTF8 = errors.New("the answer is not UTF-8, so it cannot be searched for sessions")

// sessionReader masks a body while it passes. It keeps back what may become an id.
type sessionReader struct {
	io.ReadCloser
	mask sessionMask
	text bool // it is to be UTF-8

	before  []byte // what was passed last
	in, out []byte // read, and ready to be passed on
	err     error
}

// Read implements io.Reader.
func (r *sessionReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		var n int
		piece := make([]byte, 16<<10)
		n, r.err = r.ReadCloser.Read(piece)
		if r.text && bytes.IndexByte(piece[:n], 0) >= 0 {
			r.err = errNotUTF8
			return 0, r.err
		}
		r.in = append(r.in, piece[:n]...)
		r.mask.apply(r.before, r.in)
		ready := len(r.in)
		if r.err == nil {
			ready -= r.mask.held(r.in)
		}
		r.out, r.in = r.in[:ready:ready], bytes.Clone(r.in[ready:])
		r.before = bytes.Clone(tail(r.before, r.out))
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}
