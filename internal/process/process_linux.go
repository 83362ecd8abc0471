// Which processes of this machine have ended, on Linux.

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// ID identifies this process among all there ever were: machine, boot,
// namespace of process numbers, number, start. Empty if that cannot be found out.
var ID = sync.OnceValue(func() string {
	host, errHost := os.Hostname()
	boot, errBoot := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, errSpace := os.Readlink("/proc/self/ns/pid")
	pid := strconv.Itoa(os.Getpid())
	start, errStart := started(pid)
	if errors.Join(errHost, errBoot, errSpace, errStart) != nil {
		return ""
	}
	return strings.Join([]string{host, strings.TrimSpace(string(boot)), space, pid, start}, " ")
})

// Ended reports whether the process with this id is known to have ended.
// Nothing is known of those on other machines and in other namespaces.
func Ended(id string) bool {
	self, other := strings.Split(ID(), " "), strings.Split(id, " ")
	if len(self) != 5 || len(other) != 5 || self[0] != other[0] || self[1] != other[1] || self[2] != other[2] {
		return false
	}
	pid, err := strconv.Atoi(other[3])
	if err != nil || pid <= 0 {
		return false
	}
	// Other users' processes may be hidden in /proc, but not from this.
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	start, err := started(other[3])
	return err == nil && start != other[4] // another one has its number now
}

// started is when a process was started, in ticks since the machine was.
func started(pid string) (string, error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", err
	}
	// The second field is the program's name, which may have spaces and brackets.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%s/stat: %d fields", pid, len(fields))
	}
	return fields[19], nil
}
