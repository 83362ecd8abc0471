// Who is at the other end of a unix socket, as the kernel says.

package caddymodule

import (
	"context"
	"net"
	"reflect"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// peer is the process at the other end of a connection.
type peer struct{ uid, gid, pid int }

// peerConnKey is where the connection of a request is found in its context.
type peerConnKey struct{}

// watchPeers has a server put connections of unix sockets into the context of
// their requests.
func watchPeers(ctx context.Context) {
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
			if strings.HasPrefix(conn.LocalAddr().Network(), "unix") {
				return context.WithValue(ctx, peerConnKey{}, conn)
			}
			return ctx
		})
	}
}

// peerOf asks the kernel about the connection of a request. It knows the peers of
// unix sockets only, on Linux.
func peerOf(ctx context.Context) (found peer, ok bool) {
	conn, _ := ctx.Value(peerConnKey{}).(net.Conn)
	socket := socketOf(conn)
	if socket == nil {
		return peer{}, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return peer{}, false
	}
	if err := raw.Control(func(fd uintptr) { found, ok = peerCredentials(fd) }); err != nil {
		return peer{}, false
	}
	return found, ok
}

// socketOf finds the socket in a connection. Caddy wraps connections without TLS
// in a type of its own that embeds the connection and has no method to get at it.
func socketOf(conn net.Conn) syscall.Conn {
	for conn != nil {
		if socket, ok := conn.(syscall.Conn); ok {
			return socket
		}
		if wrapper, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = wrapper.NetConn()
			continue
		}
		value := reflect.Indirect(reflect.ValueOf(conn))
		if value.Kind() != reflect.Struct {
			return nil
		}
		field := value.FieldByName("Conn")
		if !field.IsValid() || !field.CanInterface() {
			return nil
		}
		conn, _ = reflect.TypeAssert[net.Conn](field)
	}
	return nil
}
