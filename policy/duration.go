// Durations of options.

package policy

import (
	"fmt"
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

// CheckLeast returns an error for the duration of an option that is shorter than the least
// one that makes sense. Zero is the default of the option. In JSON a number without a unit
// is nanoseconds, and whoever writes one means seconds.
func CheckLeast(option string, value, least time.Duration) error {
	if value == 0 || value >= least {
		return nil
	}
	write := least.String()
	if seconds := value.Nanoseconds(); seconds > 0 && seconds <= 24*60*60 && time.Duration(seconds)*time.Second >= least {
		write = strconv.FormatInt(seconds, 10) + "s"
	}
	return fmt.Errorf("%s is %v; it must be at least %v; write %q", option, value, least, write)
}
