// What is told when a log cannot be written. It goes to standard error, because
// the log is what has failed, and is told once, because it fails for every line.

package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// failuresInterval is how often failures that go on are told again.
const failuresInterval = 10 * time.Minute

// logFailures is shared by all handlers and queues of the process, so that
// neither several of them nor a reload tell the same twice.
var logFailures = &failures{out: os.Stderr}

// failures tells the first of many failures, and of those that follow their
// number and the last of them every ten minutes, until ten minutes were without
// any. It is the error output of a zap.Logger.
type failures struct {
	out io.Writer

	mu    sync.Mutex
	going bool // the first was told, and less than ten minutes were without any
	since int  // how many were not told
	last  string
}

// tell writes one line.
func (f *failures) tell(text string) {
	_, _ = fmt.Fprintf(f.out, "%s veeam_auth: %s\n", time.Now().UTC().Format(time.RFC3339), text)
}

// add counts a failure and tells it if it is the first.
func (f *failures) add(text string) {
	f.mu.Lock()
	first := !f.going
	if first {
		f.going = true
		time.AfterFunc(failuresInterval, f.sum)
	} else {
		f.since, f.last = f.since+1, text
	}
	f.mu.Unlock()
	if first {
		go f.tell("a log cannot be written, requests are served without: " + text) // a request must not wait for it
	}
}

// sum ends an interval.
func (f *failures) sum() {
	f.mu.Lock()
	n, last := f.since, f.last
	f.going, f.since, f.last = n > 0, 0, ""
	if f.going {
		time.AfterFunc(failuresInterval, f.sum)
	}
	f.mu.Unlock()
	if n > 0 {
		f.tell(fmt.Sprintf("a log could still not be written, failures in the last %v: %d, the last one: %s", failuresInterval, n, last))
	}
}

// Write takes what zap has to say about an entry that it could not write.
func (f *failures) Write(p []byte) (int, error) {
	text := p
	if _, reason, found := bytes.Cut(p, []byte(" write error: ")); found {
		text = reason // without the time, which is that of the entry
	}
	f.add(string(bytes.Join(bytes.Fields(text), []byte(" "))))
	return len(p), nil
}

// Sync is part of zapcore.WriteSyncer.
func (f *failures) Sync() error { return nil }
