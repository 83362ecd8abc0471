// The offset of a server's clock from the local one: verification codes follow the server's.

package veeam

import (
	"net/http"
	"time"
)

const (
	// A difference this small is not told from none: the Date header has whole
	// seconds, and the answer took its time.
	clockNoise = 2 * time.Second

	// How many steps of a verification code, rounded, the server's clock may be
	// ahead or behind and still be followed exactly.
	clockSteps = 2
)

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

// follow is how far codes are computed ahead of our clock.
func (t *TOTP) follow(offset time.Duration) time.Duration {
	most := clockSteps*t.period + t.period/2
	return max(-most, min(offset, most))
}
