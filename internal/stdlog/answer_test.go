// What servers send does not get into errors.

package stdlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
)

// answering is a server that sends the same bytes to each connection.
func answering(t *testing.T, text string) (url string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, text)
			conn.Close()
		}
	}()
	return "http://" + listener.Addr().String()
}

func TestNoErrorOfAnAnswerQuotesIt(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, answer := range map[string]string{
		"no HTTP":        "s3cret\r\n\r\n",
		"status":         "HTTP/1.1 s3cret OK\r\n\r\n",
		"version":        "HTTP/s3cret 200 OK\r\n\r\n",
		"no colon":       ok + "s3cret\r\n\r\n",
		"continued line": ok + " s3cret: s3cret\r\n\r\n",
		"empty key":      ok + ": s3cret\r\n\r\n",
		"length":         ok + "Content-Length: s3cret\r\n\r\n",
		"lengths":        ok + "Content-Length: 1\r\nContent-Length: s3cret\r\n\r\n",
		"encoding":       ok + "Transfer-Encoding: s3cret\r\n\r\n",
		"trailer key":    ok + "Transfer-Encoding: chunked\r\nTrailer: Content-Length, s3cret\r\n\r\n0\r\n\r\n",
		"chunk":          ok + "Transfer-Encoding: chunked\r\n\r\ns3cret\r\n",
		"trailer":        ok + "Transfer-Encoding: chunked\r\n\r\n0\r\ns3cret\r\n\r\n",
		"trailer line":   ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n s3cret: x\r\n\r\n",
		"like TLS":       "tls: s3cret x509: \r\n\r\n",
		"key like TLS":   ok + "s3cret(tls: x509: x\r\n\r\n",
		"line like TLS":  ok + " s3cret tls: x509: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, answering(t, answer), nil)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{DisableKeepAlives: true}
			defer transport.CloseIdleConnections()
			res, err := Send(transport, req)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			if err == nil {
				t.Fatal("no error")
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if text := fmt.Sprintf("%v %+v %#v", e, e, e.Error()); strings.Contains(text, "s3cret") || strings.TrimSpace(e.Error()) == "" {
					t.Error(text)
				}
			}
		})
	}
}

func TestOtherErrorsAreAsTheyWere(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, err := range []error{
		nil, io.ErrUnexpectedEOF, context.Canceled, cause,
		&net.OpError{Op: "dial", Err: fmt.Errorf("host %q", "x")},
		errors.New(`x509: certificate signed by unknown authority (possibly because of "x509: invalid signature")`),
	} {
		if got := WithoutAnswer(err); got != err { //nolint:errorlint // the same value
			t.Errorf("%v: %v", err, got)
		}
	}
	got := WithoutAnswer(fmt.Errorf("broken: %w: malformed %q", cause, "s3cret"))
	if !errors.Is(got, cause) || errors.Unwrap(got) != nil || got.Error() != "broken: cause: malformed, which is not shown" {
		t.Errorf("%v", got)
	}
	if _, ok := errors.AsType[textproto.ProtocolError](WithoutAnswer(fmt.Errorf("x: %w", textproto.ProtocolError("s3cret")))); !ok {
		t.Error("the type is lost")
	}
}
