// Links in the documents of a server that names itself in them: they lead here instead.

package answer

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// withLinks has the links of an answer lead to this site: headers, and each Href of
// XML and JSON that begins with x.Links. Without x.Links, which is so before there was a
// login, the first Href of the document tells how the server calls itself. Nothing else
// changes, and nothing is kept back but what may become a link.
func (x *Exchange) withLinks(res *http.Response) *http.Response {
	if !x.Linked {
		return res
	}
	if x.Links != "" {
		LeadHere(res.Header, x.Links, "", x.Site+"/api")
	}
	kind, _, _ := strings.Cut(strings.ToLower(res.Header.Get("Content-Type")), ";")
	kind = strings.TrimSpace(kind)
	site := x.Site + "/api"
	switch {
	case strings.HasSuffix(kind, "xml"):
		site = veeam.XMLText(site)
	case !strings.HasSuffix(kind, "json"):
		return res
	}
	delete(res.Header, "Content-Length") // also of HEAD
	if x.bodyless(res) {
		return res
	}
	res.ContentLength = -1
	res.Body = &linkReader{Reader: res.Body, close: res.Body.Close, links: x.Links, site: site}
	return res
}

// longestLink is how much of the beginning of a link is looked at.
const longestLink = 300

// linkReader replaces the beginnings of links in a document while it passes.
type linkReader struct {
	io.Reader
	close       func() error
	links, site string // what is replaced by what; learnt from the first link if empty

	in, out []byte // read, and ready to be passed on
	last    []byte // what was passed last: the name of a value stands there
	err     error
}

// Close implements io.Closer.
func (r *linkReader) Close() error { return r.close() }

// Read implements io.Reader.
func (r *linkReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		var n int
		piece := make([]byte, 16<<10)
		n, r.err = r.Reader.Read(piece)
		r.in = append(r.in, piece[:n]...)
		r.step()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// step takes over what is decided of r.in.
func (r *linkReader) step() {
	for len(r.in) > 0 {
		at := bytes.IndexAny(r.in, `"'`)
		if at < 0 {
			r.pass(len(r.in))
			return
		}
		if r.pass(at + 1); !r.named() {
			continue
		}
		if len(r.in) < longestLink && r.err == nil && bytes.IndexByte(r.in, r.last[len(r.last)-1]) < 0 {
			// The rest of the link is to come: the quote is looked at again then.
			r.in = append([]byte{r.unpass()}, r.in...)
			return
		}
		if length := r.match(); length > 0 {
			r.out = append(r.out, r.site...)
			r.in = r.in[length:]
		}
	}
}

// pass passes on n bytes as they are.
func (r *linkReader) pass(n int) {
	r.out = append(r.out, r.in[:n]...)
	r.last = append(r.last, r.in[:n]...)
	if over := len(r.last) - 32; over > 0 {
		r.last = append(r.last[:0], r.last[over:]...)
	}
	r.in = r.in[n:]
}

// unpass takes the last byte back.
func (r *linkReader) unpass() byte {
	c := r.out[len(r.out)-1]
	r.out, r.last = r.out[:len(r.out)-1], r.last[:len(r.last)-1]
	return c
}

// named reports whether the quote that was passed last begins the value of an Href.
func (r *linkReader) named() bool {
	name := bytes.TrimRight(r.last[:len(r.last)-1], " \t\r\n")
	if attribute, ok := bytes.CutSuffix(name, []byte("=")); ok {
		attribute = bytes.TrimRight(attribute, " \t\r\n")
		return bytes.HasSuffix(attribute, []byte("Href"))
	}
	name, ok := bytes.CutSuffix(name, []byte(":"))
	name = bytes.TrimRight(name, " \t\r\n")
	return ok && (bytes.HasSuffix(name, []byte(`"Href"`)) || bytes.HasSuffix(name, []byte(`"href"`)))
}

// match is the length of the beginning of r.in that is to be replaced, 0 if there is none.
func (r *linkReader) match() int {
	if r.links == "" {
		r.learn()
	}
	for _, links := range [...]string{r.links, strings.ReplaceAll(r.links, "/", `\/`)} {
		if links == "" || len(r.in) < len(links) || !strings.EqualFold(string(r.in[:len(links)]), links) {
			continue
		}
		if len(r.in) == len(links) || strings.IndexByte(`/\?#"'`, r.in[len(links)]) >= 0 {
			return len(links)
		}
	}
	return 0
}

// learn takes the beginning of the link in r.in for that of all.
func (r *linkReader) learn() {
	text := strings.ReplaceAll(string(r.in[:min(len(r.in), longestLink)]), `\/`, "/")
	if end := strings.IndexAny(text, `"'`); end >= 0 {
		text = text[:end]
	}
	r.links = veeam.LinkBase(text)
}
