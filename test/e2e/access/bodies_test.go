// Bodies that are shorter than announced or malformed, in each version of HTTP.

package access

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// brokenPost is a POST whose body is not whole, as no client library sends it.
type brokenPost struct {
	address, path, kind, body string
}

// senders send it, and return the answer as it came.
var senders = map[string]func(brokenPost, context.Context) (string, error){
	"HTTP/1.1": brokenPost.overHTTP1, "HTTP/2": brokenPost.overHTTP2, "HTTP/3": brokenPost.overHTTP3,
}

func (p brokenPost) trust(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{protocol}}
}

func (p brokenPost) dial(ctx context.Context, protocol string) (net.Conn, error) {
	conn, err := (&tls.Dialer{Config: p.trust(protocol)}).DialContext(ctx, "tcp", p.address)
	if err == nil {
		context.AfterFunc(ctx, func() { _ = conn.Close() })
	}
	return conn, err
}

func (p brokenPost) fields() [][2]string {
	return [][2]string{
		{":method", http.MethodPost},
		{":scheme", "https"},
		{":authority", p.address},
		{":path", p.path},
		{"content-type", p.kind},
		{"x-api-version", "1.2-rev0"},
		{"content-length", fmt.Sprint(len(p.body) + 1)},
	}
}

// overHTTP1 sends it in chunks: the rest of a length would be waited for.
func (p brokenPost) overHTTP1(ctx context.Context) (string, error) {
	conn, err := p.dial(ctx, "http/1.1")
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nX-Api-Version: 1.2-rev0\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nno chunk\r\n",
		p.path, p.address, p.kind, len(p.body), p.body)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn) // the server closes it
	return string(text), err
}

func (p brokenPost) overHTTP2(ctx context.Context) (string, error) {
	conn, err := p.dial(ctx, "h2")
	if err != nil {
		return "", err
	}
	var block, text bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range p.fields() {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return "", err
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	_ = framer.WriteData(1, true, []byte(p.body))
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return text.String(), err
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			text.WriteString("HTTP/2 " + frame.PseudoValue("status") + " ")
		case *http2.DataFrame:
			if text.Write(frame.Data()); frame.StreamEnded() {
				return text.String(), nil
			}
		}
	}
}

func (p brokenPost) overHTTP3(ctx context.Context) (string, error) {
	conn, err := quic.DialAddr(ctx, p.address, p.trust(http3.NextProtoH3), nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	block := []byte{0, 0} // RFC 9204: no table, and literals only
	for _, field := range p.fields() {
		if n := len(field[0]); n < 7 {
			block = append(block, 0x20|byte(n))
		} else {
			block = append(block, 0x27, byte(n-7))
		}
		block = append(append(append(block, field[0]...), byte(len(field[1]))), field[1]...)
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return "", err
	}
	var frames []byte // the header is of kind 1, data of kind 0
	for kind, content := range slices.Backward([][]byte{[]byte(p.body), block}) {
		frames = append(quicvarint.Append(quicvarint.Append(frames, uint64(kind)), uint64(len(content))), content...)
	}
	if _, err := stream.Write(frames); err != nil {
		return "", err
	}
	_ = stream.Close()
	text, err := io.ReadAll(stream)
	return string(text), err
}

// It is the client's fault whatever sends the request on, and part of a body does not pass
// for the whole.
func TestABodyThatIsNotWholeIsRefusedInEveryVersionOfHTTP(t *testing.T) {
	for _, forward := range []string{"auto", "nested"} {
		base, _ := overTLS(t, "forward "+forward+"\n\tclient grafana "+bcryptHash)
		for _, version := range slices.Sorted(maps.Keys(senders)) {
			for _, p := range []brokenPost{
				{path: "/api/v1/jobs/" + jobID + "/start", kind: "application/octet-stream", body: "{}"},
				{path: "/api/v1/jobs/" + jobID + "/start", kind: "application/json", body: "{}"},
				{path: "/api/oauth2/token", kind: "application/x-www-form-urlencoded", body: "grant_type=password&username=grafana&password=" + password},
			} {
				p.address = strings.TrimPrefix(base, "https://")
				ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
				text, err := senders[version](p, ctx)
				cancel()
				if !strings.Contains(text, "(bad_request)") || strings.Contains(text, "access_token") || version != "HTTP/3" && !strings.HasPrefix(text, version+" 400 ") {
					t.Errorf("%s, %s: %s of %s: %v %q", forward, version, p.path, p.kind, err, text)
				}
			}
		}
	}
}
