package listener

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestEarlyDataIsRecognized(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   bool
	}{
		"clear text":               {func(*http.Request) {}, false},
		"TLS":                      {func(r *http.Request) { r.TLS = &tls.ConnectionState{HandshakeComplete: true} }, false},
		"a handshake under way":    {func(r *http.Request) { r.TLS = new(tls.ConnectionState) }, true},
		"of a proxy":               {func(r *http.Request) { r.Header.Set("Early-Data", "1") }, true},
		"of a proxy, in a new way": {func(r *http.Request) { r.Header.Set("early-data", "?1") }, true},
	} {
		r := httptest.NewRequest(http.MethodPost, "/x", http.NoBody)
		if c.change(r); Early(r) != c.want {
			t.Errorf("%s: %t", name, !c.want)
		}
	}
}

func TestAProxyIsRecognized(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   bool
	}{
		"a client":          {func(*http.Request) {}, false},
		"HTTP/2":            {func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 }, false},
		"HTTP/3":            {func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/3.0", 3, 0 }, false},
		"HTTP/1.0":          {func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0 }, true},
		"a service mesh":    {func(r *http.Request) { r.RemoteAddr = "127.0.0.6:40000" }, true},
		"not quite a mesh":  {func(r *http.Request) { r.RemoteAddr = "127.0.0.61:40000" }, false},
		"a header of proxy": {func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/x", http.NoBody)
		if c.change(r); Relayed(r) != c.want || !c.want && PeerOf(r).Address == "" || c.want && PeerOf(r).Address != "" {
			t.Errorf("%s: %t, %+v", name, Relayed(r), PeerOf(r))
		}
	}
}

func TestTheTargetIsThatBeforeAllHandlers(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/x", http.NoBody)
	if got := Target(r); got != "/x" {
		t.Error(got)
	}
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, http.Request{RequestURI: "/before/x"}))
	if got := Target(r); got != "/before/x" {
		t.Error(got)
	}
}
