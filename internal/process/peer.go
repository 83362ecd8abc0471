// Package process asks the kernel about processes: who is at the other end of a unix
// socket, and whether a process has ended.
package process

import (
	"context"
	"net"
	"net/http"
	"net/netip"
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

// OverUnix reports whether a request, whose context ctx is, has come over a unix socket.
func OverUnix(ctx context.Context) bool {
	local, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr)
	return ok && isUnix(local)
}

func isUnix(address net.Addr) bool { return strings.HasPrefix(address.Network(), "unix") }

// posesAsAddress reports whether the peer of a unix socket has bound its own end to a file
// whose name reads as a network address, such as 10.20.0.1:80. The name would be the remote
// address of its requests, by which Caddy trusts proxies, matches remote_ip and writes logs.
// conn may be nil.
func posesAsAddress(conn net.Conn) bool {
	if conn == nil || !isUnix(conn.LocalAddr()) {
		return false
	}
	name := conn.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	name, _, _ = strings.Cut(name, "%") // Caddy ignores the zone, whatever it is
	_, err := netip.ParseAddr(name)
	return err == nil
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
