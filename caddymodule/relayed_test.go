// When the address of the peer is not the caller's.

package caddymodule

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/pires/go-proxyproto"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/process"
)

func TestHeadersThatProxiesAddMarkARequestAsRelayed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix",
		"X-Forwarded-Ssl", "X-Real-IP", "CF-Connecting-IP", "CF-Ray", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP",
		"Caddy-Templates-Include", "X-Original-Forwarded-For", "X-Original-Host", "X-Envoy-External-Address", "CDN-Loop", "X-Azure-ClientIP", "x-forwarded-for", "FORWARDED",
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		if listener.Relayed(r) {
			t.Fatal("a request without headers is relayed")
		}
		if r.Header.Set(name, ""); !listener.Relayed(r) {
			t.Errorf("%s does not count", name)
		}
	}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Type", "Host", "User-Agent", "X-Api-Version", "X-Request-Id", "X-Csrf-Token",
		"X-Restsvcsessionid", "X-Requested-With", "Traceparent", "Origin", "Referer", "Upgrade", "Prefer", "X-Forward", "X-Originator",
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		if r.Header.Set(name, "x"); listener.Relayed(r) {
			t.Errorf("%s counts", name)
		}
	}
}

// elsewhere is a wrapper that names another address than that of the socket.
type embedding struct{ net.Conn }

type hiding struct{ net.Conn }

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// opaque is a wrapper that does not tell what it wraps.
type opaque struct{ inner }

type inner interface{ net.Conn }

// accepted is the server's end of a connection over the loopback address.
func accepted(t *testing.T) net.Conn {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	client, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	conn, err := socket.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTheAddressCountsOnlyIfItIsThatOfTheSocket(t *testing.T) {
	t.Parallel()
	conn := accepted(t)
	memory, other := net.Pipe()
	defer memory.Close()
	defer other.Close()
	spoken := proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.IGNORE))
	for name, c := range map[string]struct {
		conn   net.Conn
		direct bool
	}{
		"bare":                         {conn, true},
		"embedded":                     {&embedding{hiding{conn}}, true},
		"TLS":                          {tls.Server(conn, new(tls.Config)), true},
		"PROXY protocol":               {spoken, false},
		"TLS over the PROXY protocol":  {tls.Server(spoken, new(tls.Config)), false},
		"PROXY protocol in a wrapper":  {&embedding{spoken}, false},
		"another address":              {elsewhere{conn}, false},
		"another address, wrapped":     {&embedding{elsewhere{conn}}, false},
		"no socket":                    {memory, false},
		"a wrapper that tells nothing": {opaque{conn}, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r = r.WithContext(process.WithConnection(r.Context(), c.conn))
		if listener.Relayed(r) == c.direct {
			t.Errorf("%s: direct is not %v", name, c.direct)
		}
	}
}

// A trusted proxy that names no client is not the client itself.
func TestAProxyThatNamesNobodyIsNotTheClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		remote, found, want string
	}{
		"a client":                      {"10.20.0.1:80", "192.0.2.7", "192.0.2.7"},
		"the proxy":                     {"10.20.0.1:80", "10.20.0.1", ""},
		"the proxy, IPv6":               {"[fd00::1]:80", "fd00::1", ""},
		"the proxy, with a zone":        {"[fe80::1%eth0]:80", "fe80::1", ""},
		"the proxy, mapped":             {"[::ffff:10.20.0.1]:80", "10.20.0.1", ""},
		"a client over IPv6":            {"[fd00::1]:80", "2001:db8::7", "2001:db8::7"},
		"a proxy at a unix socket":      {"@", "@", ""},
		"its client":                    {"@", "192.0.2.7", "192.0.2.7"},
		"what is no address":            {"10.20.0.1:80", "unknown", ""},
		"nobody, as Caddy tells nobody": {"10.20.0.1:80", "", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.RemoteAddr = c.remote
		r.Header.Set("Via", "1.1 proxy")
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), &caddyhttp.Server{TrustedProxiesStrict: 1})
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
		caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, c.found)
		if got := listener.PeerOf(r); got.Address != c.want || got.Unix {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}

// Where Caddy trusts a proxy by its address, whoever writes a header of the PROXY protocol
// chooses that address: it tells nothing of where the caller is.
func TestThePROXYProtocolMakesNoProxyTrusted(t *testing.T) {
	t.Parallel()
	conn := accepted(t)
	for name, c := range map[string]struct {
		conn net.Conn
		want string
	}{
		"a proxy":            {conn, "10.20.0.5"},
		"the PROXY protocol": {proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.USE)), ""},
		"another address":    {elsewhere{conn}, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.Header.Set("X-Forwarded-For", "10.20.0.5")
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), &caddyhttp.Server{TrustedProxiesStrict: 1})
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
		caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "10.20.0.5")
		r = r.WithContext(process.WithConnection(r.Context(), c.conn))
		if got := listener.PeerOf(r); got.Address != c.want || got.Unix {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}
