// The credentials of a peer on Linux.

package caddymodule

import "syscall"

func peerCredentials(fd uintptr) (peer, bool) {
	found, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return peer{}, false
	}
	return peer{uid: int(found.Uid), gid: int(found.Gid), pid: int(found.Pid)}, true
}
