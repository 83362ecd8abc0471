// Package logerrors reports that a log cannot be written. The report goes to standard
// error, because the log has failed, and is repeated at most every ten minutes, because
// every line fails.
package logerrors

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Interval is how often failures that go on are reported again.
const Interval = 10 * time.Minute

// Stderr reports to standard error. All handlers and queues of the process share
// it and it outlives a reload, so that nothing is reported twice.
var Stderr = &Reporter{Out: os.Stderr}

// Reporter reports the first of many failures at once. Of those that follow it
// reports their number and the last one every Interval, until an Interval passes
// without any. It is a zapcore.WriteSyncer, for zap.ErrorOutput. It may be used by
// several goroutines at once.
type Reporter struct {
	Out io.Writer // gets the reports, a line each

	mu    sync.Mutex
	going bool // the first was reported, and less than Interval passed without any
	since int  // how many were not reported
	last  string
}

// Report writes one line at once, without counting it.
func (r *Reporter) Report(text string) {
	_, _ = fmt.Fprintf(r.Out, "%s veeam_auth: %s\n", time.Now().UTC().Format(time.RFC3339), text)
}

// Add counts a failure and reports it if it is the first. It does not wait for the
// report to be written.
func (r *Reporter) Add(text string) {
	r.mu.Lock()
	first := !r.going
	if first {
		r.going = true
		time.AfterFunc(Interval, r.sum)
	} else {
		r.since, r.last = r.since+1, text
	}
	r.mu.Unlock()
	if first {
		go r.Report("a log cannot be written, requests are served without: " + text) // a request must not wait for it
	}
}

// sum ends an interval.
func (r *Reporter) sum() {
	r.mu.Lock()
	n, last := r.since, r.last
	r.going, r.since, r.last = n > 0, 0, ""
	if r.going {
		time.AfterFunc(Interval, r.sum)
	}
	r.mu.Unlock()
	if n > 0 {
		r.Report(fmt.Sprintf("a log could still not be written, failures in the last %v: %d, the last one: %s", Interval, n, last))
	}
}

// Write counts what zap says of an entry that it could not write. It never fails.
func (r *Reporter) Write(p []byte) (int, error) {
	text := p
	if _, reason, found := bytes.Cut(p, []byte(" write error: ")); found {
		text = reason // without the time, which is that of the entry
	}
	r.Add(string(bytes.Join(bytes.Fields(text), []byte(" "))))
	return len(p), nil
}

// Sync is part of zapcore.WriteSyncer.
func (r *Reporter) Sync() error { return nil }
