package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// incoming is a request of a client.
func incoming(header http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:9419/api/v1/jobs?limit=1", http.NoBody)
	r.Header = header
	return r
}

func TestTheHeaderOfARequestThatIsSent(t *testing.T) {
	t.Parallel()
	const client = "192.0.2.1" // that of httptest
	usual := http.Header{
		"User-Agent": {""}, "Via": {"1.1 Caddy"},
		"X-Forwarded-For": {client}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"localhost:9419"},
	}
	for name, c := range map[string]struct {
		header  http.Header
		trusted bool
		change  func(*http.Request)
		want    http.Header // beside usual; nil values are missing
	}{
		"nothing": {},
		"as it came": {
			header: http.Header{"Accept": {"a", "b"}, "X-Empty": {""}, "User-Agent": {"client"}},
			want:   http.Header{"Accept": {"a", "b"}, "X-Empty": {""}, "User-Agent": {"client"}},
		},
		"of one connection": {header: http.Header{
			"Alt-Svc": {"h3"}, "Connection": {"keep-alive"}, "Proxy-Connection": {"keep-alive"}, "Keep-Alive": {"timeout=5"}, "Proxy-Authenticate": {"Basic"},
			"Proxy-Authorization": {"Basic eDp5"}, "Te": {"gzip"}, "Trailer": {"X-Sum"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"},
		}},
		"named by Connection": {
			header: http.Header{"Connection": {"x-one, ,X-Two", "User-Agent"}, "X-One": {"1"}, "X-Two": {"2"}, "X-Three": {"3"}},
			want:   http.Header{"X-Three": {"3"}, "User-Agent": nil},
		},
		"trailers are welcome":             {header: http.Header{"Te": {"gzip, trailers"}}, want: http.Header{"Te": {"trailers"}}},
		"but not if Connection names them": {header: http.Header{"Te": {"trailers"}, "Connection": {"te"}}},
		"withheld":                         {header: http.Header{"Cookie": {"a=b"}}},
		"another proxy":                    {header: http.Header{"Via": {"1.0 first"}}, want: http.Header{"Via": {"1.0 first", "1.1 Caddy"}}},
		"not trusted":                      {header: http.Header{"X-Forwarded-For": {"10.1.2.3"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"outside.example"}}},
		"trusted": {
			trusted: true,
			header:  http.Header{"X-Forwarded-For": {"10.1.2.3", "10.9.9.9"}, "X-Forwarded-Proto": {"http", "https"}, "X-Forwarded-Host": {"outside.example"}},
			want:    http.Header{"X-Forwarded-For": {"10.1.2.3, 10.9.9.9, " + client}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"outside.example"}},
		},
		"trusted, but it says nothing": {trusted: true, header: http.Header{"X-Forwarded-For": {""}, "X-Forwarded-Proto": {""}, "X-Forwarded-Host": {""}}},
		"left out by a handler before": {
			header: http.Header{"X-Forwarded-For": nil, "X-Forwarded-Proto": nil, "X-Forwarded-Host": nil},
			want:   http.Header{"X-Forwarded-For": nil, "X-Forwarded-Proto": nil, "X-Forwarded-Host": nil},
		},
		"over TLS":           {change: func(r *http.Request) { r.TLS = &tls.ConnectionState{HandshakeComplete: true} }, want: http.Header{"X-Forwarded-Proto": {"https"}}},
		"over HTTP/2":        {change: func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, want: http.Header{"Via": {"2.0 Caddy"}}},
		"over HTTP/3":        {change: func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 3, 0 }, want: http.Header{"Via": {"3.0 Caddy"}}},
		"over HTTP/1.0":      {change: func(r *http.Request) { r.ProtoMinor = 0 }, want: http.Header{"Via": {"1.0 Caddy"}}},
		"zone of an address": {change: func(r *http.Request) { r.RemoteAddr = "[fe80::1%eth0]:5" }, want: http.Header{"X-Forwarded-For": {"fe80::1"}}},
		"no address": {
			header: http.Header{"X-Forwarded-For": {"10.1.2.3"}}, change: func(r *http.Request) { r.RemoteAddr = "nonsense" },
			want: http.Header{"X-Forwarded-For": nil, "X-Forwarded-Proto": nil, "X-Forwarded-Host": nil},
		},
		"a Unix socket": {
			header: http.Header{"X-Forwarded-For": {"10.1.2.3"}}, change: func(r *http.Request) { r.RemoteAddr = "@" },
			want: http.Header{"X-Forwarded-For": nil, "X-Forwarded-Proto": nil, "X-Forwarded-Host": nil},
		},
		"a trusted Unix socket": {
			trusted: true, header: http.Header{"X-Forwarded-For": {"10.1.2.3"}}, change: func(r *http.Request) { r.RemoteAddr = "@" },
			want: http.Header{"X-Forwarded-For": {"10.1.2.3"}},
		},
	} {
		r := incoming(c.header)
		if c.change != nil {
			c.change(r)
		}
		before := r.Header.Clone()
		want := usual.Clone()
		for header, values := range c.want {
			if want[header] = values; values == nil {
				delete(want, header)
			}
		}
		out := Request(r.Context(), r, c.trusted, func(header string) bool { return header == "Cookie" })
		got := out.Header.Clone()
		for header, values := range got {
			if values == nil { // net/http does not send it
				delete(got, header)
			}
		}
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
		if !maps.EqualFunc(r.Header, before, slices.Equal) {
			t.Errorf("%s: the request of the client has changed to %v", name, r.Header)
		}
	}
}

func TestARequestThatIsSentIsACopy(t *testing.T) {
	t.Parallel()
	type key struct{}
	r := incoming(http.Header{"Accept": {"a"}})
	r.Close = true
	out := Request(context.WithValue(r.Context(), key{}, 1), r, false, nil)
	if out.Context().Value(key{}) != 1 || out.Close || out.URL.Host != "" || out.URL.RequestURI() != "/api/v1/jobs?limit=1" || out.Host != r.Host {
		t.Errorf("%+v", out)
	}
	out.URL.Path = "/changed"
	out.Header.Set("Accept", "b")
	out.Header.Add("Via", "other")
	if r.URL.Path != "/api/v1/jobs" || r.Header.Get("Accept") != "a" || r.Header.Get("Via") != "" {
		t.Errorf("the request of the client has changed: %v %v", r.URL, r.Header)
	}
	if again := Request(r.Context(), r, false, nil); !slices.Equal(again.Header["Via"], []string{"1.1 Caddy"}) || again.Header.Get("User-Agent") != "" {
		t.Errorf("another one has %v", again.Header)
	}
}

// hopByHop are the headers that belong to one connection.
var hopByHop = []string{
	"Alt-Svc", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// Whatever a client sends, nothing of one connection goes on, and all else does.
func TestNothingOfAConnectionGoesOn(t *testing.T) {
	t.Parallel()
	names := append([]string{"Accept", "X-One", "X-Two", "Cookie", "Via", "User-Agent"}, hopByHop...)
	rapid.Check(t, func(t *rapid.T) {
		header := http.Header{}
		for _, name := range rapid.SliceOf(rapid.SampledFrom(names)).Draw(t, "names") {
			header.Add(name, rapid.SampledFrom([]string{"", "a", "X-One", "X-One, x-two", "trailers", "keep-alive"}).Draw(t, "value"))
		}
		out := Request(t.Context(), incoming(header.Clone()), false, func(name string) bool { return name == "Cookie" })
		gone := append(named(header), hopByHop...)
		for name, values := range header {
			switch {
			case name == "Te", name == "Via": // see the table
			case name == "Cookie" || slices.Contains(gone, name):
				if got := out.Header[name]; got != nil {
					t.Fatalf("%s: %q goes on", name, got)
				}
			case !slices.Equal(out.Header[name], values):
				t.Fatalf("%s: %q of %q", name, out.Header[name], values)
			}
		}
	})
}

func TestTheBodyOfARequestThatIsSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		length  int64
		trailer http.Header
		want    int64
		body    bool
	}{
		"none":                     {length: 0, want: 0},
		"of known length":          {length: 4, want: 4, body: true},
		"of unknown length":        {length: -1, want: -1, body: true},
		"with trailers":            {length: 4, trailer: http.Header{"X-Sum": nil}, want: -1, body: true},
		"none, but with a trailer": {length: 0, trailer: http.Header{"X-Sum": nil}, want: -1, body: true},
	} {
		r := incoming(http.Header{"Content-Length": {"4"}})
		r.Body, r.ContentLength, r.Trailer = io.NopCloser(strings.NewReader("body")), c.length, c.trailer
		out := Request(r.Context(), r, false, nil)
		if out.ContentLength != c.want || (out.Body != nil) != c.body || out.Trailer != nil {
			t.Errorf("%s: %d, %v, %v", name, out.ContentLength, out.Body, out.Trailer)
		}
		if _, has := out.Header["Content-Length"]; has == (c.trailer != nil) {
			t.Errorf("%s: header %v", name, out.Header)
		}
	}
}

// closing tells whether it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestABodyOfWhichNothingWasReadStaysOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		reads int
		want  bool
	}{{"body", 0, false}, {"body", 1, true}, {"body", 9, true}, {"", 0, false}, {"", 1, true}} {
		source := &closing{Reader: strings.NewReader(c.text)}
		body := &unreadBody{ReadCloser: source}
		for range c.reads {
			if n, err := body.Read(make([]byte, 1)); err == nil && n != 1 || err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(n, err)
			}
		}
		if err := body.Close(); err != nil || source.closed != c.want {
			t.Errorf("%q, %d reads: closed %t, %v", c.text, c.reads, source.closed, err)
		}
	}
}

func TestOnlySimpleRequestsAreForwarded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, header string
		want           bool
	}{
		{http.MethodGet, "Accept", true}, {http.MethodDelete, "Connection", true}, {http.MethodGet, "Upgrade", false}, {http.MethodPost, "Incremental", false}, {http.MethodConnect, "Accept", false},
	} {
		r := incoming(http.Header{c.header: {"x"}})
		r.Method = c.method
		if Simple(r) != c.want {
			t.Error(fmt.Sprint(c))
		}
	}
}
