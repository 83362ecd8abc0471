// When the address of the peer is not the caller's.

package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
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
		"Caddy-Templates-Include", "X-Original-Forwarded-For", "X-Original-Host", "X-Envoy-External-Address", "l5d-client-id", "CDN-Loop", "X-Azure-ClientIP", "x-forwarded-for", "FORWARDED",
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
	return acceptedAt(t, "tcp", "127.0.0.1:0")
}

// overSocket is a request over a unix socket.
func overSocket(t *testing.T) *http.Request {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock") //nolint:usetesting // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	conn := acceptedAt(t, "unix", filepath.Join(dir, "s"))
	r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
	r.RemoteAddr = conn.RemoteAddr().String()
	return r.WithContext(process.WithConnection(context.WithValue(r.Context(), http.LocalAddrContextKey, conn.LocalAddr()), conn))
}

func acceptedAt(t *testing.T, network, address string) net.Conn {
	t.Helper()
	socket, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	client, err := net.Dial(network, socket.Addr().String())
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

// behind is a request that Caddy has found to be from a trusted proxy, or from no proxy.
func behind(r *http.Request, server *caddyhttp.Server, trusted bool, client string) *http.Request {
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), server)
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, trusted)
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, client)
	return r
}

// The proxies that Caddy trusts may name their client in headers of their own.
func TestAHeaderByWhichCaddyKnowsClientsMarksARequestAsRelayed(t *testing.T) {
	t.Parallel()
	server := &caddyhttp.Server{ClientIPHeaders: []string{"x-my-client"}}
	for name, c := range map[string]struct {
		server  *caddyhttp.Server
		header  string
		trusted bool
		client  string
		want    bool
	}{
		"no header":                             {server, "Accept", true, "127.0.0.1", false},
		"no header, from nobody trusted":        {server, "Accept", false, "127.0.0.1", false},
		"the header":                            {server, "X-My-Client", true, "192.0.2.7", true},
		"the header, which names nobody":        {server, "X-My-Client", true, "127.0.0.1", true},
		"the header, from nobody trusted":       {server, "X-My-Client", false, "127.0.0.1", true},
		"a header that an earlier handler took": {server, "Accept", true, "192.0.2.7", true},
		"another server's header":               {new(caddyhttp.Server), "X-My-Client", false, "127.0.0.1", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set(c.header, "192.0.2.7")
		r = behind(r, c.server, c.trusted, c.client)
		if got := listener.Relayed(r); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		r.Header.Del(c.header) // as headers that Connection names
		if got := listener.Relayed(r); got != c.want {
			t.Errorf("%s, once the header is gone: %t", name, got)
		}
	}
}

// A source is neither what a client says of itself, nor the proxy that it shares with others.
func TestTheSourceBehindAProxyIsWhatTheProxyAdds(t *testing.T) {
	t.Parallel()
	nginx := func() *http.Request {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.RemoteAddr = "10.20.0.1:80"
		return r
	}
	loose, strict := &caddyhttp.Server{ClientIPHeaders: []string{"X-Real-Ip", "X-Forwarded-For"}}, &caddyhttp.Server{TrustedProxiesStrict: 1}
	self := listener.SourceOf(overSocket(t)) // a user, where that is known
	for name, c := range map[string]struct {
		r       *http.Request
		headers []string // of the name before
		server  *caddyhttp.Server
		trusted bool
		client  string // as Caddy has found it
		want    string
	}{
		"no proxy":                                 {nginx(), nil, loose, false, "10.20.0.1", "10.20.0.1"},
		"who claims to be one":                     {nginx(), []string{"X-Forwarded-For", "192.0.2.7"}, loose, false, "10.20.0.1", "10.20.0.1"},
		"a proxy that names nobody":                {nginx(), nil, loose, true, "10.20.0.1", "10.20.0.1"},
		"a client":                                 {nginx(), []string{"X-Forwarded-For", "192.0.2.7"}, loose, true, "192.0.2.7", "192.0.2.7"},
		"a client that writes another address":     {nginx(), []string{"X-Forwarded-For", "198.51.100.9, 192.0.2.7"}, loose, true, "198.51.100.9", "192.0.2.7"},
		"a client that writes another line":        {nginx(), []string{"X-Forwarded-For", "198.51.100.9", "X-Forwarded-For", "192.0.2.7"}, loose, true, "198.51.100.9", "192.0.2.7"},
		"a client with a port":                     {nginx(), []string{"X-Forwarded-For", "198.51.100.9,[2001:db8::7]:80"}, loose, true, "198.51.100.9", "2001:db8::/64"},
		"a client whom the proxy hides":            {nginx(), []string{"X-Forwarded-For", "198.51.100.9, unknown"}, loose, true, "198.51.100.9", "10.20.0.1"},
		"a client in another header":               {nginx(), []string{"X-Real-Ip", "192.0.2.8", "X-Forwarded-For", "192.0.2.7"}, loose, true, "192.0.2.8", "192.0.2.8"},
		"a client, strictly":                       {nginx(), []string{"X-Forwarded-For", "198.51.100.9, 192.0.2.7, 10.20.0.2"}, strict, true, "192.0.2.7", "192.0.2.7"},
		"at a socket, no proxy":                    {overSocket(t), nil, loose, false, "", self},
		"at a socket, who claims to be one":        {overSocket(t), []string{"X-Forwarded-For", "192.0.2.7"}, loose, false, "", self},
		"at a socket, a client of a proxy":         {overSocket(t), []string{"X-Forwarded-For", "192.0.2.7"}, loose, true, "192.0.2.7", "192.0.2.7"},
		"at a socket, strictly":                    {overSocket(t), []string{"X-Forwarded-For", "192.0.2.7"}, strict, true, "192.0.2.7", "192.0.2.7"},
		"at a socket, a proxy that names nobody":   {overSocket(t), nil, strict, true, "@", self},
		"at a socket, a proxy that names nobody 2": {overSocket(t), nil, loose, true, "@", self},
	} {
		for i := 0; i < len(c.headers); i += 2 {
			c.r.Header.Add(c.headers[i], c.headers[i+1])
		}
		if got := listener.SourceOf(behind(c.r, c.server, c.trusted, c.client)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// All connections to a unix socket have the same address.
func TestConnectionsToAUnixSocketAreToldApart(t *testing.T) {
	t.Parallel()
	r := overSocket(t)
	if got := listener.ConnectionOf(r); runtime.GOOS == "linux" && got != fmt.Sprintf("uid %d pid %d", os.Getuid(), os.Getpid()) {
		t.Error(got)
	}
	over := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
	if got := listener.ConnectionOf(over); got != over.RemoteAddr {
		t.Error(got)
	}
}
