// Clients of each version of HTTP.

package forwarder_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"

	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

// received is what a client has got, as text, with the body apart.
type received struct {
	head, info string
	body       []byte
	trailer    string
	failed     bool // before the end of the body
	err        error
}

func receivedFrom(res *http.Response, info string) received {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.Header.Get("Content-Encoding") == "gzip" { // where it is flushed is chance
		if unpacked, gzipErr := gzip.NewReader(bytes.NewReader(body)); gzipErr == nil {
			body, _ = io.ReadAll(unpacked)
		}
	}
	var head, trailer strings.Builder
	header := res.Header.Clone()
	delete(header, "Date")
	fmt.Fprintf(&head, "%s %d length %d %v close %t\n", res.Proto, res.StatusCode, res.ContentLength, res.TransferEncoding, res.Close)
	writeHeader(&head, header)
	writeHeader(&trailer, res.Trailer)
	return received{head: head.String(), info: info, body: body, trailer: trailer.String(), failed: err != nil}
}

// sender sends requests in a version of HTTP.
type sender interface {
	send(x *exchange, port int) (received, error)
	close()
}

const siteName = "localhost:9419" // as clients say: the same for both sites

// trust is what clients use for TLS. They have a certificate, so that the headers of
// proxies leave them known.
var trust = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}

// clientCertificate makes the certificate of the clients and returns it.
func clientCertificate() []byte {
	own := certs.Authority("tester")
	trust.Certificates = []tls.Certificate{*own}
	return certs.PEM(own.Leaf)
}

const aLongTime = time.Minute

// textSender sends HTTP/1.1 as text, over a connection to each port.
type textSender struct{ conns map[int]*textConn }

type textConn struct {
	net.Conn
	*bufio.Reader
}

func (s *textSender) send(x *exchange, port int) (got received, err error) {
	for try := range 2 {
		reused := s.conns[port] != nil
		if got, err = s.try(x, port); err == nil || !reused || try == 1 {
			return got, err
		}
		x.forget() // the connection may have been closed before the request
	}
	return got, err
}

func (s *textSender) try(x *exchange, port int) (received, error) {
	conn := s.conns[port]
	if conn == nil {
		config := trust.Clone()
		config.NextProtos = []string{"http/1.1"}
		to, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), config)
		if err != nil {
			return received{}, err
		}
		conn = &textConn{to, bufio.NewReader(to)}
		s.conns[port] = conn
	}
	_ = conn.SetDeadline(time.Now().Add(aLongTime))
	drop := func() {
		_ = conn.Close()
		delete(s.conns, port)
	}
	if _, err := io.WriteString(conn, x.text()); err != nil {
		drop()
		return received{}, err
	}
	info := ""
	for {
		res, err := http.ReadResponse(conn.Reader, &http.Request{Method: x.method})
		if err != nil {
			drop()
			return received{}, err
		}
		if res.StatusCode == http.StatusContinue {
			continue // that of the upstream and that of the site may be one or two
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			var text strings.Builder
			writeHeader(&text, res.Header)
			info += fmt.Sprint(res.StatusCode, " ", text.String())
			continue
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			drop()
		}
		got := receivedFrom(res, info)
		if got.failed || res.Close {
			drop()
		}
		return got, nil
	}
}

// text is the request in HTTP/1.1.
func (x *exchange) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n", x.method, x.target, siteName, caseID, x.id)
	for _, h := range x.header {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	switch {
	case x.chunked:
		for _, h := range x.trailer {
			fmt.Fprintf(&b, "Trailer: %s\r\n", h[0])
		}
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if len(x.body) > 0 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(x.body), x.body)
		}
		b.WriteString("0\r\n")
		for _, h := range x.trailer {
			fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		}
	case x.body != nil:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(x.body), x.body)
		return b.String()
	}
	b.WriteString("\r\n")
	return b.String()
}

func (s *textSender) close() {
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// clientSender sends with a client of HTTP/2 or HTTP/3.
type clientSender struct {
	http.RoundTripper
	end func()
}

func (s *clientSender) close() { s.end() }

func (s *clientSender) send(x *exchange, port int) (received, error) {
	return s.sendIn(context.Background(), x, port)
}

func (s *clientSender) sendIn(ctx context.Context, x *exchange, port int) (received, error) {
	ctx, cancel := context.WithTimeout(ctx, aLongTime)
	defer cancel()
	info := ""
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		var text strings.Builder
		writeHeader(&text, http.Header(header))
		if code != http.StatusContinue { // see textSender
			info += fmt.Sprint(code, " ", text.String())
		}
		return nil
	}})
	req := (&http.Request{
		Method: x.method, Header: http.Header{caseID: {x.id}}, Host: siteName, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{Scheme: "https", Host: fmt.Sprintf("localhost:%d", port)},
	}).WithContext(ctx)
	req.URL.Opaque, req.URL.RawQuery, _ = strings.Cut(x.target, "?")
	for _, h := range x.header {
		switch name := http.CanonicalHeaderKey(h[0]); name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade":
		default:
			req.Header.Add(name, h[1])
		}
	}
	if x.body != nil {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(x.body))), int64(len(x.body))
	}
	if x.chunked {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(x.body))), -1
		for _, h := range x.trailer {
			if req.Trailer == nil {
				req.Trailer = http.Header{}
			}
			req.Trailer.Add(h[0], h[1])
		}
	}
	res, err := s.RoundTrip(req)
	if err != nil {
		return received{}, err
	}
	return receivedFrom(res, info), nil
}

func newSender(proto string) sender {
	switch proto {
	case "HTTP/2":
		second := &http2.Transport{TLSClientConfig: trust.Clone()} //nolint:staticcheck // it sends what net/http would not
		return &clientSender{second, second.CloseIdleConnections}  //nolint:staticcheck // see above
	case "HTTP/3":
		third := &http3.Transport{TLSClientConfig: trust.Clone()}
		return &clientSender{third, func() { _ = third.Close() }}
	}
	return &textSender{make(map[int]*textConn)}
}
