// The connection of a request, as a server puts it into the context of its requests.

package process

import (
	"context"
	"net"
	"sync"
)

// Connection is what is known of the connection of a request.
type Connection struct {
	net.Conn

	// Direct reports whether the other end of the socket is the caller: no PROXY
	// protocol is spoken on it, and no wrapper of the listener names another address.
	// It must not be called before the first byte of a request has been read, because
	// a wrapper may read from the socket to tell the address.
	Direct func() bool
}

type connectionKey struct{}

// ConnectionOf returns nil where there is none: HTTP/3 has no connection that a
// listener could have wrapped.
func ConnectionOf(ctx context.Context) *Connection {
	c, _ := ctx.Value(connectionKey{}).(*Connection)
	return c
}

// WithConnection puts a connection into the context of its requests, unless one is in
// it. It fits http.Server.ConnContext. It closes a connection whose peer has taken the name of
// an address.
func WithConnection(ctx context.Context, conn net.Conn) context.Context {
	if ConnectionOf(ctx) != nil {
		return ctx
	}
	if posesAsAddress(Socket(conn)) {
		_ = conn.Close()
	}
	return context.WithValue(ctx, connectionKey{}, &Connection{Conn: conn, Direct: sync.OnceValue(func() bool {
		socket := Socket(conn)
		return socket != nil && socket.RemoteAddr().String() == conn.RemoteAddr().String()
	})})
}

// PartOfPeer is the "uid", "gid" or "pid" of the peer of a request, whose context ctx is;
// empty if it is not known. ctx may be nil.
func PartOfPeer(ctx context.Context, name string) any {
	if ctx == nil {
		return ""
	}
	p, ok := PeerOfRequest(ctx)
	switch {
	case !ok:
		return ""
	case name == "uid":
		return p.UID
	case name == "gid":
		return p.GID
	}
	return p.PID
}

// PeerOfRequest is PeerOf for the connection of a request, whose context it is.
func PeerOfRequest(ctx context.Context) (Peer, bool) {
	c := ConnectionOf(ctx)
	if c == nil {
		return Peer{}, false
	}
	return PeerOf(c.Conn)
}
