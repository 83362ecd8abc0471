// Who is at the other end of a unix socket, as the kernel says.

package caddymodule

import (
	"context"
	"strings"
	"syscall"
)

// peer is the process at the other end of a connection.
type peer struct{ uid, gid, pid int }

// peerOf asks the kernel about the connection of a request. It knows the peers of
// unix sockets only, on Linux.
func peerOf(ctx context.Context) (found peer, ok bool) {
	c := connectionOf(ctx)
	if c == nil {
		return peer{}, false
	}
	socket := socketOf(c.Conn)
	if socket == nil || !strings.HasPrefix(socket.LocalAddr().Network(), "unix") {
		return peer{}, false
	}
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		return peer{}, false
	}
	if err := raw.Control(func(fd uintptr) { found, ok = peerCredentials(fd) }); err != nil {
		return peer{}, false
	}
	return found, ok
}
