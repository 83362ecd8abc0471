// The credentials of a peer on Linux.

package process

import "syscall"

func peerCredentials(fd uintptr) (Peer, bool) {
	found, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return Peer{}, false
	}
	return Peer{UID: int(found.Uid), GID: int(found.Gid), PID: int(found.Pid)}, true
}
