// How often the garbage collector runs.

package process

import (
	"os"
	"runtime/debug"
)

// CalmPercent is the GOGC of veeam-auth's own programs: the garbage collector begins when
// the heap has grown by 400 % of what was live. A proxy has little that is live and much
// garbage, so Go's default of 100 spends a tenth of the processor on it.
const CalmPercent = 400

// CalmGC sets the garbage collector to CalmPercent, unless the environment variable GOGC is
// set. The memory limit of Caddy, or GOMEMLIMIT, is observed all the same.
func CalmGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(CalmPercent)
	}
}
