package answer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func TestNeitherTrailersNorAnotherProtocolArePassed(t *testing.T) {
	product, _ := veeam.Lookup("vspc")
	x := Exchange{Terms: Terms{Filter: true}, Product: product, Request: httptest.NewRequest(http.MethodGet, "/", http.NoBody), Websocket: true}
	made := &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {typeJSON}, "Trailer": {"X-Note"}}, ContentLength: -1,
		Body: io.NopCloser(strings.NewReader("{}")), Trailer: http.Header{"X-Note": nil},
	}
	res, _ := x.Pass(made)
	made.Trailer = http.Header{"X-Note": {"password=canary"}} // as the transport does at the end
	if len(res.Trailer) > 0 || res.Header.Get("Trailer") != "" {
		t.Errorf("trailers: %v %v", res.Trailer, res.Header)
	}
	closed := false
	made = &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}, Body: closing{strings.NewReader("canary"), &closed}}
	res, refused := x.Pass(made)
	if refused == nil || res.StatusCode != http.StatusBadGateway || !closed {
		t.Errorf("another protocol: %d, closed %v", res.StatusCode, closed)
	}
}

// closing is a body that tells that it is closed.
type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error {
	*c.closed = true
	return nil
}

// filtered passes an answer of JSON to a site that filters.
func filtered(t *testing.T, method, body string, length int64, ends error) (*http.Response, *veeam.Refusal) {
	t.Helper()
	product, _ := veeam.Lookup("vspc")
	x := Exchange{Terms: Terms{Filter: true}, Product: product, Request: httptest.NewRequest(method, "/api/v3/users", http.NoBody)}
	made := &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, ContentLength: length,
		Header: http.Header{"Content-Type": {typeJSON}, "Content-Length": {strconv.FormatInt(length, 10)}, "Etag": {`"7"`}},
		Body:   io.NopCloser(io.MultiReader(strings.NewReader(body), failing{ends})),
	}
	return x.Pass(made)
}

func TestAShortAnswerHasALengthAfterTheFilter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		length bool
	}{
		"short":           {`{"name":"x","password":"canary"}`, true},
		"nothing to mask": {`[1, 2, 3]`, true},
		"one byte":        {`7`, true},
		"the longest":     {`{"password":"canary","a":"` + strings.Repeat("x", shortLength-28) + `"}`, true},
		"longer":          {`{"password":"canary","a":"` + strings.Repeat("x", shortLength-27) + `"}`, false},
	} {
		res, refused := filtered(t, http.MethodGet, c.body, int64(len(c.body)), io.EOF)
		if refused != nil {
			t.Fatalf("%s: %+v", name, refused)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil || strings.Contains(string(text), "canary") || len(text) == 0 {
			t.Errorf("%s: %.80s, %v", name, text, err)
		}
		want, header := int64(-1), ""
		if c.length {
			want, header = int64(len(text)), strconv.Itoa(len(text))
		}
		if res.ContentLength != want || res.Header.Get("Content-Length") != header || res.Header.Get("Etag") != "" {
			t.Errorf("%s: length %d, header %v, want %d", name, res.ContentLength, res.Header, want)
		}
	}
}

func TestAShortAnswerThatCannotBeSearchedIsRefused(t *testing.T) {
	t.Parallel()
	const body = `{"password":"canary","a":}`
	if res, refused := filtered(t, http.MethodGet, body, int64(len(body)), io.EOF); refused == nil || res.StatusCode != http.StatusBadGateway {
		t.Errorf("%d %+v", res.StatusCode, refused)
	}
}

func TestAShortAnswerThatEndsEarlyEndsEarly(t *testing.T) {
	t.Parallel()
	res, refused := filtered(t, http.MethodGet, `{"password":"canary","a":"b`, 400, io.ErrUnexpectedEOF)
	if refused != nil {
		t.Fatalf("%+v", refused)
	}
	text, err := io.ReadAll(res.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || res.ContentLength != -1 || res.Header.Get("Content-Length") != "" || strings.Contains(string(text), "canary") {
		t.Errorf("%q, %v, length %d, header %v", text, err, res.ContentLength, res.Header)
	}
}

// The server's length of a body with secrets, beside that of the body without, would be that
// of the secrets.
func TestTheAnswerToHEADDoesNotTellTheLengthOfSecrets(t *testing.T) {
	t.Parallel()
	res, refused := filtered(t, http.MethodHead, "", 32, io.EOF)
	if refused != nil || res.Header.Get("Content-Length") != "" || res.Header.Get("Etag") != "" {
		t.Errorf("%+v, header %v", refused, res.Header)
	}
}
