// Errors of net/http without what a server has sent.

package stdlog

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
)

// Send sends a request with base. Neither its error nor one of reading the answer quotes the
// answer: a server or a proxy may repeat the token of the request, or send what is secret,
// where no HTTP is expected.
func Send(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	res, err := base.RoundTrip(req)
	if err != nil {
		return res, WithoutAnswer(err)
	}
	if len(res.TransferEncoding) > 0 { // there may be a trailer, which net/http quotes
		res.Body = &body{res.Body}
	}
	return res, nil
}

// WithoutAnswer returns err, whose text quotes nothing of an answer. An error of the network
// or of TLS is returned as it is.
func WithoutAnswer(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if line, isHeader := errors.AsType[textproto.ProtocolError](err); isHeader {
		text, _, _ = strings.Cut(text, string(line)) // it may be the line itself, without quotes
		return &quoting{text + "a header of the answer is malformed", err}
	}
	said, _, quotes := strings.Cut(text, `"`)
	if _, network := errors.AsType[net.Error](err); !quotes || network || strings.Contains(said, "tls: ") || strings.Contains(said, "x509: ") {
		return err
	}
	return &quoting{strings.TrimRight(said, " =:") + ", which is not shown", err}
}

// quoting is an error that quotes an answer, without the quotation. It is what it was to
// errors.Is and errors.As, but nobody who prints the chain of errors gets at the text.
type quoting struct {
	text string
	err  error
}

func (e *quoting) Error() string { return e.text }

// Is reports whether the error is another one.
func (e *quoting) Is(target error) bool { return errors.Is(e.err, target) }

// As finds an error of a type.
func (e *quoting) As(target any) bool { return errors.As(e.err, target) }

// body is the body of an answer.
type body struct{ io.ReadCloser }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF is never wrapped
		err = WithoutAnswer(err)
	}
	return n, err
}
