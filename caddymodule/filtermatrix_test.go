// Every form in which a server can write an answer, with a canary in it: none of
// them gets to a caller whose answers are filtered.

package caddymodule

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"
)

const matrixCanary = "CANARY-4bd1c7e2"

// matrixBodies are documents with a canary, by what they are.
var matrixBodies = map[string]string{
	"object":    `{"id": 1, "password": "` + matrixCanary + `"}`,
	"list":      `[{"items": [{"secretKey": "` + matrixCanary + `"}]}]`,
	"pair":      `{"displayName": "password", "value": "` + matrixCanary + `"}`,
	"turned":    `{"value": "` + matrixCanary + `", "name": "secret key"}`,
	"string":    `"Bearer ` + matrixCanary + `"`,
	"log":       `[1,{"password": "` + matrixCanary + `"` + "\n[03.10.2022] password: " + matrixCanary,
	"XML":       `<?xml version="1.0"?><c><password>` + matrixCanary + `</password></c>`,
	"page":      `<!doctype html><p>password: ` + matrixCanary + `</p>`,
	"script":    `var password = "` + matrixCanary + `"`,
	"table":     "name,password\nsvc," + matrixCanary + "\n",
	"text":      "password: " + matrixCanary + "\n",
	"events":    "event: login\ndata: {\"password\":\"" + matrixCanary + "\"}\n\n",
	"lines":     "{\"a\":1}\n{\"password\":\"" + matrixCanary + "\"}\n",
	"sequence":  "\x1e{\"password\":\"" + matrixCanary + "\"}\n",
	"multipart": "--b\r\nContent-Type: application/json\r\n\r\n{\"password\":\"" + matrixCanary + "\"}\r\n--b--\r\n",
	"cbor":      "\xa1\x68password\x6f" + matrixCanary,
	"protobuf":  "\x0a\x08password\x12\x0f" + matrixCanary,
	"msgpack":   "\x81\xa8password\xaf" + matrixCanary,
	"yaml":      "password: " + matrixCanary + "\n",
	"archive":   "PK\x03\x04" + matrixCanary,
}

var matrixTypes = []string{
	"", "-", "application/json", "text/json", "application/problem+json", "application/vnd.veeam+json", "application/hal+json",
	"application/x-ndjson", "application/json-seq", "application/xml", "text/xml", "application/problem+xml", "application/atom+xml",
	"image/svg+xml", "text/plain", "text/csv", "text/html", "text/css", "text/javascript", "application/javascript", "text/yaml",
	"application/yaml", "multipart/mixed; boundary=b", "multipart/byteranges; boundary=b", "multipart/form-data; boundary=b",
	"application/octet-stream", "text/event-stream", "application/cbor", "application/protobuf", "application/x-protobuf",
	"application/msgpack", "application/bson", "application/zip", "application/gzip", "application/x-tar", "application/pdf",
	"image/png", "image/jpeg", "font/woff2", "video/mp4", "application/x-www-form-urlencoded", "no type at all", "application/json/x", ";",
}

var matrixCharsets = []string{"", "utf-8", "UTF8", "us-ascii", "iso-8859-1", "utf-16", "utf-16le", "utf-32", "utf-7", "ibm037", `"utf-8`, "utf-8; charset=utf-16"}

// matrixWritings turn a text into bytes.
var matrixWritings = map[string]func(string) string{
	"as it is":               func(s string) string { return s },
	"with the mark of UTF-8": func(s string) string { return "\ufeff" + s },
	"UTF-16LE":               func(s string) string { return utf16Text(s, binary.LittleEndian) },
	"UTF-16BE":               func(s string) string { return utf16Text(s, binary.BigEndian) },
	"UTF-16LE with its mark": func(s string) string { return utf16Text("\ufeff"+s, binary.LittleEndian) },
	"UTF-16BE with its mark": func(s string) string { return utf16Text("\ufeff"+s, binary.BigEndian) },
	"UTF-32LE with its mark": func(s string) string { return utf32Text("\ufeff" + s) },
	"behind blanks":          func(s string) string { return strings.Repeat(" \r\n\t", 300) + s },
}

func utf16Text(s string, order binary.ByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = append(b, 0, 0)
		order.PutUint16(b[len(b)-2:], unit)
	}
	return string(b)
}

func utf32Text(s string) string {
	var b []byte
	for _, r := range s {
		b = binary.LittleEndian.AppendUint32(b, uint32(r))
	}
	return string(b)
}

// matrixPackings pack a body, by the encoding that the header then names.
var matrixPackings = map[string]func(string) string{
	"":         func(s string) string { return s },
	"identity": func(s string) string { return s },
	"gzip":     func(s string) string { return packed(s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }) },
	"x-gzip":   func(s string) string { return packed(s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }) },
	"deflate":  func(s string) string { return packed(s, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }) },
	"deflate, raw": func(s string) string {
		return packed(s, func(w io.Writer) io.WriteCloser { f, _ := flate.NewWriter(w, 0); return f })
	},
	"br":                 brotliStored,
	"zstd":               func(s string) string { return s },
	"aes128gcm":          func(s string) string { return s },
	"gzip, that is none": func(s string) string { return s },
}

func packed(s string, pack func(io.Writer) io.WriteCloser) string {
	var b bytes.Buffer
	w := pack(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// brotliStored is a Brotli stream of one block that is not compressed.
func brotliStored(s string) string {
	if s == "" || len(s) > 1<<16 {
		return s
	}
	bits := uint32(len(s)-1)<<4 | 1<<20 // window 16, not the last, four nibbles of length, not compressed
	return string([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16)}) + s + "\x03"
}

// inflaters are used again: making one for each answer takes longer than all the rest.
var inflaters = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}

// leaks reports whether the canary is in what a client gets, in any writing and
// unpacked as well.
func leaks(got reply) bool {
	var all bytes.Buffer
	_ = got.Header().Write(&all)
	all.Write(got.Body.Bytes())
	if z, err := gzip.NewReader(bytes.NewReader(got.Body.Bytes())); err == nil {
		_, _ = io.Copy(&all, z)
	}
	if z, err := zlib.NewReader(bytes.NewReader(got.Body.Bytes())); err == nil {
		_, _ = io.Copy(&all, z)
	}
	inflate := inflaters.Get().(io.Reader)
	defer inflaters.Put(inflate)
	_ = inflate.(flate.Resetter).Reset(bytes.NewReader(got.Body.Bytes()), nil)
	_, _ = io.Copy(&all, inflate)
	plain := bytes.ReplaceAll(all.Bytes(), []byte{0}, nil)
	return bytes.Contains(plain, []byte(matrixCanary)) ||
		bytes.Contains(plain, []byte(base64.StdEncoding.EncodeToString([]byte(matrixCanary))))
}

// matrix runs answers for a caller and counts those that have let the canary through.
// Each body comes with each type, and of the ways to pack, write and label them a third,
// another one for the next body and the next type.
func matrix(t *testing.T, c *chain, caller string) (answers, leaked, whole int) {
	t.Helper()
	turn := 0
	try := func(status int, header http.Header, body string) {
		if turn++; caller != "monitor" && turn%10 > 0 {
			return // a part of these is enough of a control
		}
		c.serve(status, header, body)
		got := c.ask(caller, http.MethodGet, "/api/v3/organizations", func(r *http.Request) {
			r.Header.Set("Accept-Encoding", "gzip, deflate, br")
			r.Header.Set("Range", "bytes=10-")
		})
		answers++
		if got.Code == status && got.broken == nil {
			whole++
		}
		if leaks(got) {
			leaked++
			if caller == "monitor" {
				t.Errorf("%d %v %.60q becomes %d %v %.100q", status, header, body, got.Code, got.Header(), got.Body)
			}
		}
	}
	header := func(contentType, charset, encoding string) http.Header {
		h := http.Header{"Content-Type": {contentType}}
		if charset != "" {
			h.Set("Content-Type", contentType+"; charset="+charset)
		}
		if contentType == "-" {
			delete(h, "Content-Type")
		}
		if encoding, _, _ = strings.Cut(encoding, ","); encoding != "" {
			h.Set("Content-Encoding", encoding)
		}
		return h
	}
	for i, name := range slices.Sorted(maps.Keys(matrixBodies)) {
		body := matrixBodies[name]
		for j, contentType := range matrixTypes {
			taken := func(k int) bool { return (i+j+k)%3 == 0 }
			for k, encoding := range slices.Sorted(maps.Keys(matrixPackings)) {
				if taken(k) {
					try(http.StatusOK, header(contentType, "", encoding), matrixPackings[encoding](body))
				}
			}
			for k, writing := range slices.Sorted(maps.Keys(matrixWritings)) {
				if taken(k) {
					try(http.StatusOK, header(contentType, "", ""), matrixWritings[writing](body))
				}
			}
			for k, charset := range matrixCharsets {
				if taken(k) {
					try(http.StatusOK, header(contentType, charset, ""), body)
				}
			}
			part := header(contentType, "", "")
			part.Set("Content-Range", "bytes 10-99/100")
			try(http.StatusPartialContent, part, body)
			try(http.StatusOK, part, body)
			for k, status := range []int{201, 202, 203, 400, 401 + 2, 404, 409, 500, 503} {
				if taken(k) {
					try(status, header(contentType, "", ""), body)
				}
			}
			two := header(contentType, "", "")
			two["Content-Type"] = append(two["Content-Type"], contentTypeJSON, "image/png")
			try(http.StatusOK, two, body)
		}
		if name == "object" { // in the header: of answers with a body, and of those without
			for _, status := range []int{200, 201, 202, 204, 302, 304, 404} {
				for name, value := range map[string]string{
					"X-Restsvcsessionid": "%s", "X-Api-Key": "%s", "X-Auth-Token": "%s", "Authorization": "Bearer %s",
					"Location": "/api/v3/x?token=%s", "Content-Location": "https://u:%s@vspc01/x", "Link": "<https://vspc01/x?sig=%s>; rel=next",
					"Refresh": "0; url=/x?access_token=%s", "X-Note": "password=%s", "Www-Authenticate": `Bearer token="%s"`,
					"X-Amz-Security-Token": "%s", "Authentication-Info": "%s", "Set-Cookie": "session=%s", "X-Session-Token": "%s",
				} {
					try(status, http.Header{name: {fmt.Sprintf(value, matrixCanary)}}, "")
				}
			}
		}
	}
	return answers, leaked, whole
}

func TestNoCanaryPassesInAnyFormOfAnAnswer(t *testing.T) {
	t.Parallel()
	c := newChain(t, `{"product": "vspc", "filter_secrets": {"except": ["caddy:admin"]}}`)
	answers, leaked, whole := matrix(t, c, "monitor")
	t.Logf("%d answers, %d canaries out, %d passed as a whole", answers, leaked, whole)
	if leaked > 0 || answers < 10_000 || whole < 300 {
		t.Errorf("%d answers, %d canaries out, %d passed as a whole", answers, leaked, whole)
	}
	// The control: what is not filtered is found.
	answers, leaked, _ = matrix(t, c, "admin")
	t.Logf("for a caller who may: %d of %d canaries", leaked, answers)
	if leaked < answers*8/10 {
		t.Errorf("only %d of %d canaries are found", leaked, answers)
	}
}
