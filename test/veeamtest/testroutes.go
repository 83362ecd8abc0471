// Routes that no product has, below the base path of each: what a proxy must carry unharmed can be seen on them.

package veeamtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

func testRoutes(base string) []route {
	return []route{
		{"*", base + "/echo", protected, serveEcho},
		{"*", base + "/upload", protected, serveUpload},
		{"GET", base + "/download", protected, serveDownload},
		{"POST", base + "/execute", protected, serveExecute},
		{"*", base + "/always401", protected, func(x *exchange) { x.accepted401() }},
		{"*", base + "/status/{code}", protected, serveStatus},
		{"*", base + "/slow", protected, serveSlow},
		{"GET", base + "/media", protected, serveMedia},
		{"GET", base + "/websocket", protected, serveWebsocket},
		{"GET", base + "/stream", protected, serveStream},
	}
}

// Media is the response of …/media.
type Media struct {
	Status  int
	Header  http.Header
	Body    []byte
	Chunked bool // sent in two pieces, without a length
}

// SetMedia sets the response of …/media. Default: 404.
func (s *Server) SetMedia(m Media) { s.media.Store(&m) }

func serveMedia(x *exchange) {
	m := x.s.media.Load()
	if m == nil {
		x.refuse(notFound)
		return
	}
	maps.Copy(x.w.Header(), m.Header)
	x.w.WriteHeader(m.Status)
	body := m.Body
	if m.Chunked {
		_, _ = x.w.Write(body[:len(body)/2])
		_ = http.NewResponseController(x.w).Flush()
		body = body[len(body)/2:]
	}
	_, _ = x.w.Write(body)
}

// digest reads the body to its end. ok is false when it broke off.
func (x *exchange) digest() (length int64, sum string, ok bool) {
	hash := sha256.New()
	length, err := io.Copy(hash, x.r.Body)
	x.s.tally(func(c *Counters) { c.Uploaded += length })
	return length, hex.EncodeToString(hash.Sum(nil)), err == nil
}

// Echo is the response of …/echo.
type Echo struct {
	Method  string              `json:"method"`
	Path    string              `json:"path"` // as received
	Query   string              `json:"query"`
	Host    string              `json:"host"`
	Proto   string              `json:"proto"`
	Headers map[string][]string `json:"headers"` // headers that carry the session contain the name of its user
	Subject string              `json:"subject"`
	Length  int64               `json:"length"`
	SHA256  string              `json:"sha256"`
}

// carriers are the headers by which sessions are shown, in both spellings of Go.
func (s *Server) carriers() []string {
	if s.product.carriers == nil {
		return []string{"Authorization"}
	}
	return s.product.carriers
}

func serveEcho(x *exchange) {
	length, sum, ok := x.digest()
	if !ok {
		return
	}
	headers := x.r.Header.Clone()
	for _, name := range x.s.carriers() {
		if headers[name] != nil {
			headers[name] = []string{x.subject()}
		}
	}
	x.json(http.StatusOK, Echo{
		Method: x.r.Method, Path: rawPath(x.r), Query: x.r.URL.RawQuery, Host: x.r.Host, Proto: x.r.Proto,
		Headers: headers, Subject: x.subject(), Length: length, SHA256: sum,
	})
}

// Upload is the response of …/upload.
type Upload struct {
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"`
}

func serveUpload(x *exchange) {
	if length, sum, ok := x.digest(); ok {
		x.json(http.StatusOK, Upload{length, sum})
	}
}

// serveDownload sends ?size= bytes, with a Content-Length unless ?chunked is set.
func serveDownload(x *exchange) {
	size, err := strconv.ParseInt(x.query("size"), 10, 64)
	if err != nil || size < 0 {
		x.refuse(badRequest)
		return
	}
	if !x.r.URL.Query().Has("chunked") {
		x.w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	x.w.Header().Set("Content-Disposition", `attachment; filename="download.bin"`)
	x.write(http.StatusOK, "application/octet-stream", nil)
	if x.r.Method == http.MethodHead {
		return
	}
	for size > 0 {
		n, err := x.w.Write(downloadChunk[:min(size, int64(len(downloadChunk)))])
		x.s.tally(func(c *Counters) { c.Downloaded += int64(n) })
		if size -= int64(n); err != nil {
			return
		}
	}
}

// downloadChunk repeats in every download. It is no multiple of anything that buffers are.
var downloadChunk = func() []byte {
	b := make([]byte, 65521)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}()

func serveExecute(x *exchange) {
	length, _, ok := x.digest()
	if !ok {
		return
	}
	op := x.query("op")
	times := x.execute(op)
	x.json(http.StatusCreated, map[string]any{"op": op, "executed": times, "length": length})
}

func (x *exchange) execute(op string) (times int) {
	x.s.tally(func(c *Counters) {
		c.Executed[op]++
		times = c.Executed[op]
	})
	return times
}

// accepted401 answers 401 although the token is good; the request then counts as unauthorized, not as protected.
func (x *exchange) accepted401() {
	x.s.tally(func(c *Counters) { c.Protected--; c.Unauthorized++ })
	x.refuse(badBearer)
}

func serveStatus(x *exchange) {
	code, err := strconv.Atoi(x.params["code"])
	switch {
	case err != nil || code < 200 || code > 599:
		x.refuse(badRequest)
	case code == http.StatusUnauthorized:
		x.accepted401()
	case code >= 400:
		p := lookup(x.s.product.problems, serverFault)
		p.status = code
		x.refuseIn(p, x.s.product.problem)
	default:
		x.json(code, map[string]int{"status": code})
	}
}

func serveSlow(x *exchange) {
	ms, _ := strconv.Atoi(x.query("ms"))
	length, _, ok := x.digest()
	if ok && x.sleep(time.Duration(ms)*time.Millisecond) {
		x.json(http.StatusOK, map[string]any{"ms": ms, "length": length})
	}
}

// serveStream sends ?chunks= (default 5) lines, each flushed, ?ms= (default 20) apart.
func serveStream(x *exchange) {
	chunks, ms := 5, 20
	if v, err := strconv.Atoi(x.query("chunks")); err == nil {
		chunks = v
	}
	if v, err := strconv.Atoi(x.query("ms")); err == nil {
		ms = v
	}
	x.write(http.StatusOK, "text/event-stream", nil)
	flush := http.NewResponseController(x.w)
	for i := range chunks {
		if i > 0 && !x.sleep(time.Duration(ms)*time.Millisecond) {
			return
		}
		fmt.Fprintf(x.w, "data: chunk %d\n\n", i)
		flush.Flush()
	}
}

// serveWebsocket sends every message back, text as text and binary as binary.
func serveWebsocket(x *exchange) {
	if !strings.EqualFold(x.r.Header.Get("Upgrade"), "websocket") || x.r.ProtoMajor != 1 {
		x.refuse(badRequest)
		return
	}
	x.status = http.StatusSwitchingProtocols
	websocket.Server{Handler: func(ws *websocket.Conn) {
		defer x.s.hold(wsConn{ws})()
		for {
			var message wsMessage
			if wsCodec.Receive(ws, &message) != nil || wsCodec.Send(ws, message) != nil {
				return
			}
		}
	}}.ServeHTTP(x.w, x.r)
}

type wsMessage struct {
	kind byte
	data []byte
}

var wsCodec = websocket.Codec{
	Marshal: func(v any) ([]byte, byte, error) { return v.(wsMessage).data, v.(wsMessage).kind, nil },
	Unmarshal: func(data []byte, kind byte, v any) error {
		*v.(*wsMessage) = wsMessage{kind, data}
		return nil
	},
}

// wsConn makes a websocket usable as a key: two are equal only if they are the same.
type wsConn struct{ *websocket.Conn }

var _ net.Conn = wsConn{}
