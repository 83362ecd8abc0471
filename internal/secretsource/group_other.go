//go:build !unix

// Programs where there are no groups of processes.

package secretsource

import "os/exec"

// ownGroup does nothing where there are no groups of processes: the program alone is ended.
func ownGroup(*exec.Cmd) {}

// endGroup does nothing there.
func endGroup(*exec.Cmd) error { return nil }
