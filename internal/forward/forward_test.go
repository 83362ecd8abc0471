package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sends answers a request.
type sends func(*http.Request) (*http.Response, error)

func (s sends) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

// answered is an answer of an upstream.
func answered(header http.Header, body string) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: header,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}

// client notes what is written to it and when it is flushed.
type client struct {
	header http.Header
	events []string
	fails  bool
}

func (c *client) Header() http.Header { return c.header }

func (c *client) WriteHeader(status int) {
	c.events = append(c.events, fmt.Sprint(status))
}

func (c *client) Write(p []byte) (int, error) {
	if c.fails {
		return 0, net.ErrClosed
	}
	c.events = append(c.events, "write "+string(p))
	return len(p), nil
}

func (c *client) Flush() { c.events = append(c.events, "flush") }

func newClient() *client { return &client{header: http.Header{"Server": {"Caddy"}}} }

// observed keeps what an Observer is told.
type observed struct{ err error }

func (o *observed) Aborted(_ *http.Request, err error) { o.err = err }

// forwarded forwards a request that is answered by answer.
func forwardOne(t *testing.T, w http.ResponseWriter, answer sends) (x *Exchange, told *observed, panicked any, err error) {
	t.Helper()
	told = new(observed)
	x = &Exchange{Transport: answer, Address: "vbr01.lab.local:9419", Observer: told}
	defer func() { panicked = recover() }()
	r := incoming(http.Header{})
	return x, told, nil, x.Forward(r.Context(), w, r)
}

func TestTheHeaderOfAnAnswerForTheClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, header, want http.Header
	}{
		"as it came": {header: http.Header{"X-A": {"1", "2"}, "X-Empty": {""}}, want: http.Header{"X-A": {"1", "2"}, "X-Empty": {""}}},
		"of one connection": {header: http.Header{
			"Alt-Svc": {"h3"}, "Connection": {"close"}, "Proxy-Connection": {"close"}, "Keep-Alive": {"timeout=5"}, "Proxy-Authenticate": {"Basic"},
			"Proxy-Authorization": {"x"}, "Te": {"trailers"}, "Trailer": {"X-Sum"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"},
		}},
		"named by Connection": {header: http.Header{"Connection": {"X-A, close"}, "X-A": {"1"}, "X-B": {"2"}}, want: http.Header{"X-B": {"2"}}},
		"the server's name":   {header: http.Header{"Server": {"Veeam"}}, want: http.Header{"Server": {"Veeam"}}},
		"added to what is there": {
			before: http.Header{"Vary": {"Origin"}, "Via": {"before"}}, header: http.Header{"Vary": {"Accept"}, "Via": {"1.0 server"}},
			want: http.Header{"Vary": {"Origin", "Accept"}, "Via": {"before", "1.1 Caddy", "1.0 server"}},
		},
		"in another spelling": {header: http.Header{"x-lower": {"1"}}, want: http.Header{"X-Lower": {"1"}}},
	} {
		w := newClient()
		maps.Copy(w.header, c.before)
		want := http.Header{"Via": {"1.1 Caddy"}}
		maps.Copy(want, c.want)
		x, _, panicked, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) { return answered(c.header, ""), nil })
		if err != nil || panicked != nil || !maps.EqualFunc(w.header, want, slices.Equal) {
			t.Errorf("%s: %v, %v\n got %v\nwant %v", name, err, panicked, w.header, want)
		}
		for _, values := range w.header { // handlers change them in place
			for i := range values {
				values[i] = "changed"
			}
			_ = append(values, "appended")
		}
		for header, values := range x.Header {
			if slices.Contains(values, "changed") || slices.Contains(values, "appended") {
				t.Errorf("%s: %s of the upstream has changed", name, header)
			}
		}
	}
}

// A header that a handler changes does not change another one, though they share memory.
func TestTheValuesOfAnAnswerAreApart(t *testing.T) {
	t.Parallel()
	w := newClient()
	if _, _, _, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) {
		return answered(http.Header{"X-A": {"a"}, "X-B": {"b"}, "X-C": {"c"}}, ""), nil
	}); err != nil {
		t.Fatal(err)
	}
	for name := range w.header {
		w.header.Add(name, "more")
	}
	for name, want := range map[string]string{"X-A": "a", "X-B": "b", "X-C": "c", "Via": "1.1 Caddy"} {
		if !slices.Equal(w.header[name], []string{want, "more"}) {
			t.Errorf("%s: %q", name, w.header[name])
		}
	}
}

// Nothing looks at what comes behind the body of an answer.
func TestTrailersOfAnAnswerAreNotPassedOn(t *testing.T) {
	t.Parallel()
	for name, announced := range map[string]http.Header{"announced": {"X-Sum": nil}, "not announced": nil} {
		w := newClient()
		_, _, panicked, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) {
			res := answered(http.Header{}, "body")
			res.Trailer = announced
			res.Body = &closingAt{Reader: res.Body, close: func() { res.Trailer = http.Header{"X-Sum": {"1"}} }} // as net/http does at the end of the body
			return res, nil
		})
		if err != nil || panicked != nil || !maps.EqualFunc(w.header, http.Header{"Via": {"1.1 Caddy"}}, slices.Equal) {
			t.Errorf("%s: %v, %v, %v", name, err, panicked, w.header)
		}
	}
}

type closingAt struct {
	io.Reader
	close func()
}

func (c *closingAt) Close() error {
	c.close()
	return nil
}

func TestWhenAnAnswerIsFlushed(t *testing.T) {
	t.Parallel()
	short, long := "data", strings.Repeat("x", mayGetLength+1)
	for name, c := range map[string]struct {
		kind    string
		header  http.Header
		unknown bool
		parts   []string
		pause   time.Duration // before each part but the first
		want    string        // a letter for each event: h, w, f
	}{
		"of known length":                 {kind: "application/json", parts: []string{short, short}, pause: time.Minute, want: "hww"},
		"of unknown length, short":        {kind: "application/json", unknown: true, parts: []string{short, short}, want: "hwf"},
		"of unknown length, long":         {kind: "application/json", unknown: true, parts: []string{long, short}, want: "hw"},
		"of unknown length, very long":    {kind: "application/json", unknown: true, parts: []string{strings.Repeat(long, 12), short}, want: "hww"},
		"of unknown length, slow":         {kind: "application/json", unknown: true, parts: []string{short, short}, pause: late + 1, want: "hwfwf"},
		"of unknown length, then at once": {kind: "application/json", unknown: true, parts: []string{short, short, short}, pause: late * 2 / 3, want: "hwfw"},
		"events":                          {kind: "text/event-stream", parts: []string{short, short}, want: "hfwfwf"},
		"events in a charset":             {kind: " Text/Event-Stream; charset=utf-8", unknown: true, parts: []string{short}, want: "hfwf"},
		"no events":                       {kind: "text/event-streams", parts: []string{short}, want: "hw"},
		"incremental":                     {header: http.Header{"Incremental": {"?0"}}, parts: []string{short, short}, want: "hfwfwf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newClient()
				x, _, panicked, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) {
					res := answered(http.Header{"Content-Type": {c.kind}}, strings.Join(c.parts, ""))
					maps.Copy(res.Header, c.header)
					if c.unknown {
						res.ContentLength = -1
					}
					reader, writer := io.Pipe()
					go func() {
						for i, part := range c.parts {
							if i > 0 {
								time.Sleep(c.pause)
							}
							_, _ = io.WriteString(writer, part)
						}
						time.Sleep(c.pause)
						_ = writer.Close()
					}()
					res.Body = reader
					return res, nil
				})
				var got []byte
				body := ""
				for _, event := range w.events {
					kind := event[0]
					if kind == '2' {
						kind = 'h'
					}
					got = append(got, kind)
					body += strings.TrimPrefix(event[:min(len(event), 6)], "write ")
				}
				if err != nil || panicked != nil || string(got) != c.want {
					t.Errorf("%v, %v, %s, not %s", err, panicked, got, c.want)
				}
				if x.Code != http.StatusOK || x.Total == 0 && c.pause > 0 {
					t.Errorf("%d, %v", x.Code, x.Total)
				}
			})
		})
	}
}

func TestAnAnswerThatEndsEarlyBreaksOff(t *testing.T) {
	t.Parallel()
	cut := errors.New("cut off")
	for name, c := range map[string]struct {
		fails   bool
		writing bool
	}{"the upstream": {false, false}, "the client": {true, true}} {
		w := newClient()
		w.fails = c.fails
		closed := false
		_, told, panicked, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) {
			res := answered(http.Header{}, "")
			res.ContentLength = 100
			res.Body = &closingAt{Reader: io.MultiReader(strings.NewReader("half"), failing{cut}), close: func() { closed = true }}
			return res, nil
		})
		ended, _ := panicked.(error)
		if err != nil || !errors.Is(ended, http.ErrAbortHandler) || !closed || told.err == nil || errors.Is(told.err, ErrWriting) != c.writing || errors.Is(told.err, cut) == c.writing {
			t.Errorf("%s: %v, %v, closed %t, told %v", name, err, panicked, closed, told.err)
		}
		if !c.fails && !slices.Equal(w.events, []string{"200", "write half", "flush"}) {
			t.Errorf("%s: %q", name, w.events)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestErrorsOfATransport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		status  int
		written string // the status that is written here
	}{
		{context.Canceled, StatusClientClosed, "499"},
		{fmt.Errorf("round trip: %w", context.Canceled), StatusClientClosed, "499"},
		{errors.New("net/http: operation was canceled"), StatusClientClosed, ""},
		{os.ErrDeadlineExceeded, http.StatusGatewayTimeout, ""},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, http.StatusGatewayTimeout, ""},
		{fmt.Errorf("round trip: %w", os.ErrDeadlineExceeded), http.StatusBadGateway, ""},
		{io.ErrUnexpectedEOF, http.StatusBadGateway, ""},
	} {
		w := newClient()
		x, told, panicked, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) { return nil, c.err })
		if StatusOf(c.err) != c.status || panicked != nil || told.err != nil || x.Code != 0 || x.Latency != 0 || x.Upstream != 0 {
			t.Errorf("%v: %d, %v, %+v", c.err, StatusOf(c.err), panicked, told)
		}
		if strings.Join(w.events, " ") != c.written || (err == nil) != (c.written != "") || err != nil && err != c.err { //nolint:errorlint // the same one
			t.Errorf("%v: %q, %v", c.err, w.events, err)
		}
	}
}

// Nothing looks at what comes before an answer. Without anybody to tell, net/http ends an
// answer before which too much comes.
func TestNobodyIsToldOfInformationalAnswers(t *testing.T) {
	t.Parallel()
	if _, _, panicked, err := forwardOne(t, newClient(), func(r *http.Request) (*http.Response, error) {
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			t.Error("somebody is")
		}
		return answered(http.Header{}, ""), nil
	}); err != nil || panicked != nil {
		t.Fatal(err, panicked)
	}
}

func TestAnotherProtocolIsNotAccepted(t *testing.T) {
	t.Parallel()
	w, closed := newClient(), false
	_, _, panicked, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) {
		res := answered(http.Header{"Upgrade": {"other"}}, "")
		res.StatusCode, res.Body = http.StatusSwitchingProtocols, &closingAt{Reader: strings.NewReader(""), close: func() { closed = true }}
		return res, nil
	})
	if StatusOf(err) != http.StatusBadGateway || panicked != nil || len(w.events) > 0 || !closed {
		t.Errorf("%v, %v, %q, closed %t", err, panicked, w.events, closed)
	}
}

func TestTheRequestGoesToTheAddress(t *testing.T) {
	t.Parallel()
	var got *http.Request
	x, _, _, err := forwardOne(t, newClient(), func(r *http.Request) (*http.Response, error) {
		got = r
		return answered(http.Header{}, ""), nil
	})
	if err != nil || got.URL.Host != x.Address || got.URL.Scheme != "" || got.Host != "localhost:9419" || got.URL.RequestURI() != "/api/v1/jobs?limit=1" {
		t.Errorf("%v, %+v", err, got)
	}
	if x.Begun.IsZero() || x.Latency <= 0 || x.Upstream < x.Latency || x.Total < x.Upstream || x.Status != "200 OK" {
		t.Errorf("%+v", x)
	}
}

// A long body arrives as it is, whatever the sizes of its parts.
func TestALongBodyArrives(t *testing.T) {
	t.Parallel()
	text := bytes.Repeat([]byte("0123456789abcdef"), 3*bufferSize/16)
	for _, unknown := range []bool{false, true} {
		w := httptest.NewRecorder()
		if _, _, panicked, err := forwardOne(t, w, func(*http.Request) (*http.Response, error) {
			res := answered(http.Header{}, string(text))
			if unknown {
				res.ContentLength = -1
			}
			return res, nil
		}); err != nil || panicked != nil || !bytes.Equal(w.Body.Bytes(), text) {
			t.Errorf("unknown %t: %v, %v, %d bytes", unknown, err, panicked, w.Body.Len())
		}
	}
}
