// When a file has changed, where the system tells more than its time of
// modification.

package secret

import (
	"os"
	"syscall"
)

// changeTime is when anything about a file has changed, in nanoseconds.
func changeTime(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ctim.Nano()
	}
	return 0
}
