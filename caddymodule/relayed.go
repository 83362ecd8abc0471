// Whether something between the caller and Caddy has passed a request on, so that
// the address of the peer is not the caller's.

package caddymodule

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/internal/process"
)

// relayed reports whether another proxy has passed the request on. Behind one on
// this machine every caller comes from a loopback address.
func relayed(r *http.Request) bool {
	if c := connectionOf(r.Context()); c != nil && !c.direct() {
		return true
	}
	for name := range r.Header {
		if relayHeader(name) {
			return true
		}
	}
	return false
}

// relayHeader reports whether a header is one that proxies add and programs do
// not. The name is in its canonical form.
func relayHeader(name string) bool {
	switch name {
	case "Forwarded", "Via", "Cdn-Loop", "Proxy-Connection": // RFC 7239, RFC 9110, RFC 8586
		return true
	case "X-Forwarded", "Forwarded-For", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Remote-Ip", "X-Remote-Addr",
		"X-Originating-Ip", "X-Original-For", "X-Original-Host", "X-Original-Proto", "X-Proxyuser-Ip", "Proxy-Client-Ip", "Wl-Proxy-Client-Ip", "True-Client-Ip", "Client-Ip":
		return true
	case "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Pseudo-Ipv4", "Cf-Ray", "Cf-Visitor", "Cf-Ipcountry", // Cloudflare
		"Fastly-Client-Ip", "Fastly-Ssl", "Akamai-Origin-Hop", "Incap-Client-Ip", // other networks of caches
		"X-Azure-Clientip", "X-Azure-Socketip", "X-Appengine-User-Ip", "X-Nf-Client-Connection-Ip", "Fly-Client-Ip", "Do-Connecting-Ip":
		return true
	}
	// X-Forwarded-For, -Host, -Proto, -Port, …; X-Original-Forwarded-For; those of
	// Envoy, which stands before the programs of a service mesh.
	return strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-Forwarded-") || strings.HasPrefix(name, "X-Envoy-")
}

// callerConn is what is known of the connection of a request.
type callerConn struct {
	net.Conn

	// direct reports whether the other end of the socket is the caller: no PROXY
	// protocol is spoken on it, and no wrapper of the listener names another address.
	// It must not be called before the first byte of a request has been read, because
	// a wrapper may read from the socket to tell the address.
	direct func() bool
}

type connectionKey struct{}

// connectionOf returns nil where there is none: HTTP/3 has no connection that a
// listener could have wrapped.
func connectionOf(ctx context.Context) *callerConn {
	c, _ := ctx.Value(connectionKey{}).(*callerConn)
	return c
}

// watchConnections has a server put its connections into the context of their
// requests.
func watchConnections(ctx context.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		if connectionOf(ctx) != nil {
			return ctx // another handler of this server was faster
		}
		return context.WithValue(ctx, connectionKey{}, newConnection(conn))
	})
}

func newConnection(conn net.Conn) *callerConn {
	return &callerConn{Conn: conn, direct: sync.OnceValue(func() bool {
		socket := process.Socket(conn)
		return socket != nil && socket.RemoteAddr().String() == conn.RemoteAddr().String()
	})}
}

// requestPeer is the process at the other end of the unix socket of a request.
func requestPeer(ctx context.Context) (process.Peer, bool) {
	c := connectionOf(ctx)
	if c == nil {
		return process.Peer{}, false
	}
	return process.PeerOf(c.Conn)
}
