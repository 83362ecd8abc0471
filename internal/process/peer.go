// Package process asks the kernel about processes: who is at the other end of a unix
// socket, and whether a process has ended.
package process

import (
	"net"
	"reflect"
	"strings"
	"syscall"

	"github.com/pires/go-proxyproto"
)

// Peer is the process at the other end of a connection: its user, its group and its
// number.
type Peer struct{ UID, GID, PID int }

// PeerOf asks the kernel who is at the other end of a connection, whatever is wrapped
// around its socket. It knows the peers of unix sockets only, on Linux. conn may be
// nil.
func PeerOf(conn net.Conn) (found Peer, ok bool) {
	socket := Socket(conn)
	if socket == nil || !strings.HasPrefix(socket.LocalAddr().Network(), "unix") {
		return Peer{}, false
	}
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		return Peer{}, false
	}
	if err := raw.Control(func(fd uintptr) { found, ok = peerCredentials(fd) }); err != nil {
		return Peer{}, false
	}
	return found, ok
}

// Socket finds the socket in a connection. The result is nil if it cannot be
// found, or if the PROXY protocol is spoken on the connection: then the process at
// the other end of the socket is a proxy, also where the header names no address
// (LOCAL, UNKNOWN) or is ignored.
func Socket(conn net.Conn) net.Conn {
	for conn != nil {
		switch c := conn.(type) {
		case *proxyproto.Conn:
			return nil
		case syscall.Conn:
			return conn
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
			continue
		}
		// Caddy wraps connections in types of its own that embed the connection and
		// have no method to get at it.
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
