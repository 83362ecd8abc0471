// The server's clock, and how its dates are written.

package veeamtest

import (
	"context"
	"time"
)

// DateStyle is the format of .issued and .expires.
type DateStyle string

// The formats of documents and servers.
const (
	DateLocal       DateStyle = "local"  // 2025-06-10T10:29:39
	DateOffset      DateStyle = "offset" // 2025-04-24T15:24:18+02:00
	DateUTC         DateStyle = "utc"    // 2025-04-24T13:24:18Z
	DateSevenDigits DateStyle = "seven"  // 2021-10-04T14:57:38.1832163Z
	DateAbsent      DateStyle = "absent" // no such fields
)

// zeroDate is .NET's DateTime.MinValue, which Azure prints beside an MFA challenge.
const zeroDate = "0001-01-01T00:00:00Z"

func (s *Server) date(t time.Time) string {
	switch s.cfg.dates {
	case DateLocal:
		return t.In(s.cfg.zone).Format("2006-01-02T15:04:05")
	case DateOffset:
		return t.In(s.cfg.zone).Format("2006-01-02T15:04:05-07:00")
	case DateUTC:
		return t.UTC().Format("2006-01-02T15:04:05Z")
	case DateSevenDigits:
		return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
	}
	return ""
}

// now is the time as this server sees it.
func (s *Server) now() time.Time {
	return s.cfg.clock().Add(time.Duration(s.offset.Load()))
}

// Advance moves the server's clock forward by d, or back if d is negative.
func (s *Server) Advance(d time.Duration) { s.offset.Add(int64(d)) }

// sleep waits in real time, and reports false when the client left or the server closed before.
func (x *exchange) sleep(d time.Duration) bool { return sleep(x.r.Context(), x.s.closed(), d) }

func sleep(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-done:
	}
	return false
}
