// The offset of a server's clock from the local one: verification codes follow the server's.

package veeam

import (
	"net/http"
	"time"
)

// A difference this small is not told from none: the Date header has whole seconds, and
// the answer took its time.
const clockNoise = 2 * time.Second

// readOffset returns how far a server's clock is ahead of the local one, by the Date header
// of an answer and the times of request and answer.
func readOffset(header http.Header, sent, answered time.Time) (offset time.Duration, ok bool) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return 0, false
	}
	middle := sent.Add(answered.Sub(sent) / 2).Round(0)
	offset = date.Add(time.Second / 2).Sub(middle) // the header leaves out the fraction
	if offset.Abs() <= clockNoise {
		return 0, true
	}
	return offset, true
}
