//go:build !linux

// When a file has changed, where only its time of modification tells.

package secret

import "os"

// changeTime is zero: the time of modification has to do.
func changeTime(os.FileInfo) int64 { return 0 }
