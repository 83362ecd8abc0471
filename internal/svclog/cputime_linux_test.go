package svclog

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// cpuTime returns how long a function has used a processor, however busy the machine is.
func cpuTime(t *testing.T, f func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() time.Duration {
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	began := now()
	f()
	return now() - began
}
