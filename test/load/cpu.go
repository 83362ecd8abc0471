// How much processor time a process has used.

package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the user and system time of a process so far, of all its threads, also of those
// that have ended. The clock is that of clock_getcpuclockid(3): its number has the process
// inverted above three bits, of which 2 means time on a processor.
func cpuTime(pid int) (time.Duration, error) {
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &used); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}
