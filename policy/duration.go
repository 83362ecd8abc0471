// Durations of options.

package policy

import (
	"regexp"
	"strconv"
	"time"
)

// days are a number of days, also within a longer duration such as 1d12h.
var days = regexp.MustCompile(`(\d+\.?\d*|\.\d+)d`)

// ParseDuration reads a duration as Caddy does: in the form of time.ParseDuration, and a day
// is d, as in 14d.
func ParseDuration(text string) (time.Duration, error) {
	return time.ParseDuration(days.ReplaceAllStringFunc(text, func(part string) string {
		n, err := strconv.ParseFloat(part[:len(part)-1], 64)
		if err != nil { // too many: ParseDuration says so
			return part
		}
		return strconv.FormatFloat(n*24, 'f', -1, 64) + "h"
	}))
}
