//go:build unix

// Programs that end with all that they have started.

package secretsource

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a program the first of a group of processes, which ends with it: what it
// has started may hold its output open.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return endGroup(cmd) }
}

// endGroup ends what is left of the group.
func endGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
