//go:build !linux

package svclog

import (
	"testing"
	"time"
)

// cpuTime returns how long a function has taken.
func cpuTime(t *testing.T, f func()) time.Duration {
	t.Helper()
	began := time.Now()
	f()
	return time.Since(began)
}
