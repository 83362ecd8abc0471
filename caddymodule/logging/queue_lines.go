// The queue of the log writer veeam_queue: lines that wait for a writer that may
// be slow, blocked or failing.

package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/logerrors"
)

const (
	// queueBytes bounds the memory of a queue, whatever the length of lines.
	queueBytes = 64 << 20

	// queueCalm is how long no line may be dropped until that has ended: a writer
	// that is always a little too slow is not told of at every turn.
	queueCalm = 5 * time.Second

	// queueTogether is how many bytes of several lines are written at once, at most, where
	// that is possible: what a pipe takes without mixing it with what others write.
	queueTogether = 4 << 10

	// queueClose is how long Close, and the end of Caddy, wait for the writer.
	queueClose = 5 * time.Second

	// queueLook is how often the file behind a queue is looked for.
	queueLook = time.Second
)

// lineQueue is an io.WriteCloser that never waits. One goroutine, drain, writes
// what it takes to the sink.
type lineQueue struct {
	name  string        // of the sink, for people
	lines chan []byte   // closed by Close
	given chan struct{} // up: what waits is not written any more
	done  chan struct{} // drain has ended

	mu       sync.Mutex
	closed   bool
	waiting  int // lines that are not written yet
	bytes    int // in them
	dropped  int // lines, since it was told last
	dropping bool
	lastDrop time.Time
	sink     io.WriteCloser
	empty    chan struct{} // closed when no line waits, for flush

	// stream is true if the sink takes several lines in one call of Write, as a file does.
	stream bool

	// Of drain alone:
	together []byte // lines that are written at once
	ends     []int  // of each of them
	next     []byte // a line that had no room there

	// For a sink that is a file: its name, and what creates it again.
	file   string
	reopen func() (io.WriteCloser, error)
	looked time.Time

	failures *logerrors.Reporter
}

// newLineQueue returns a queue of at most n lines. drain must be started.
func newLineQueue(n int, name string, sink io.WriteCloser) *lineQueue {
	return &lineQueue{
		name: name, lines: make(chan []byte, n), given: make(chan struct{}), done: make(chan struct{}),
		sink: sink, failures: logerrors.Stderr,
	}
}

// Write queues a line or drops it. It fails only after Close.
func (q *lineQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, os.ErrClosed
	}
	if q.bytes+len(line) > queueBytes {
		q.drop()
		return len(line), nil
	}
	select {
	case q.lines <- bytes.Clone(line): // zap uses the memory of its lines again
		q.waiting++
		q.bytes += len(line)
	default:
		q.drop()
	}
	return len(line), nil
}

// drop counts a line that is lost.
func (q *lineQueue) drop() {
	q.dropped++
	q.lastDrop = time.Now()
	if q.dropping {
		return
	}
	q.dropping = true
	// Standard error may block as well.
	go q.failures.Report(fmt.Sprintf("the log %s cannot keep up: %d lines are queued, further lines are dropped", q.name, q.waiting))
}

// drain writes lines until the queue is closed and empty, or given up.
func (q *lineQueue) drain() {
	defer close(q.done)
	defer func() { _ = q.current().Close() }()
	calm := time.NewTicker(queueCalm)
	defer calm.Stop()
	for !q.givenUp() {
		if line := q.next; line != nil {
			q.next = nil
			q.write(q.gather(line))
			continue
		}
		select {
		case line, more := <-q.lines:
			if !more {
				return
			}
			q.write(q.gather(line))
		case <-calm.C:
			q.calm()
		}
	}
}

func (q *lineQueue) givenUp() bool {
	select {
	case <-q.given:
		return true
	default:
		return false
	}
}

// gather returns a line with those that wait behind it, as far as the sink takes them at
// once, and where each of them ends.
func (q *lineQueue) gather(line []byte) (text []byte, ends []int) {
	q.ends = append(q.ends[:0], len(line))
	if !q.stream || len(q.lines) == 0 || len(line) >= queueTogether {
		return line, q.ends
	}
	q.together = append(q.together[:0], line...)
	for {
		select {
		case next, more := <-q.lines:
			switch {
			case !more:
				return q.together, q.ends
			case len(q.together)+len(next) > queueTogether:
				q.next = next
				return q.together, q.ends
			}
			q.together = append(q.together, next...)
			q.ends = append(q.ends, len(q.together))
		default:
			return q.together, q.ends
		}
	}
}

// write writes lines that end there.
func (q *lineQueue) write(text []byte, ends []int) {
	q.restore()
	if n, err := q.current().Write(text); err != nil && !q.givenUp() { // Close counts what is given up
		for _, end := range ends {
			if end > n {
				q.failures.Add(err.Error())
			}
		}
	}
	q.mu.Lock()
	q.waiting -= len(ends)
	q.bytes -= len(text)
	if q.waiting == 0 && q.empty != nil {
		close(q.empty)
		q.empty = nil
	}
	q.mu.Unlock()
}

// current is the sink, which restore may replace.
func (q *lineQueue) current() io.WriteCloser {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sink
}

// restore creates a file again that was removed. Without it lines would go
// on into the file that has no name any more, and nobody would be told.
func (q *lineQueue) restore() {
	if q.file == "" || time.Since(q.looked) < queueLook {
		return
	}
	q.looked = time.Now()
	if _, err := os.Stat(q.file); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	sink, err := q.reopen()
	if err != nil {
		q.failures.Add(err.Error())
		return
	}
	q.mu.Lock()
	old := q.sink
	q.sink = sink
	q.mu.Unlock()
	_ = old.Close()
	q.failures.Add(q.file + " was removed and is created again")
}

// calm tells how many lines were dropped, once that has ended.
func (q *lineQueue) calm() {
	q.mu.Lock()
	n := q.dropped
	ended := q.dropping && time.Since(q.lastDrop) >= queueCalm && q.waiting == 0
	if ended {
		q.dropped, q.dropping = 0, false
	}
	q.mu.Unlock()
	if ended {
		q.failures.Report(fmt.Sprintf("the log %s is written again, lines dropped: %d", q.name, n))
	}
}

// Close waits up to a few seconds until the sink has written the queued lines.
func (q *lineQueue) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return os.ErrClosed
	}
	q.closed = true
	close(q.lines)
	q.mu.Unlock()
	openQueues.Delete(q)

	patience := time.NewTimer(queueClose)
	defer patience.Stop()
	select {
	case <-q.done:
		q.account(q.lost())
	case <-patience.C:
		close(q.given)
		lost := q.lost() // with the line whose write hangs, which the next step may end
		// It ends a write that hangs in a socket or pipe. Some writers cannot be
		// closed before their write has ended.
		go func() { _ = q.current().Close() }()
		q.account(lost)
	}
	return nil
}

// lost is how many lines are lost if no other is written.
func (q *lineQueue) lost() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped + q.waiting
}

// account tells at the end how many lines are lost.
func (q *lineQueue) account(lost int) {
	if lost > 0 {
		q.failures.Report(fmt.Sprintf("the log %s was closed, lines dropped: %d", q.name, lost))
	}
}

// openQueues has every queue that Caddy has opened, of all configurations: after a reload
// the old ones still write. Caddy closes no log when it ends.
var openQueues sync.Map

// flushQueues has what waits written before Caddy ends.
func flushQueues(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queueClose)
	defer cancel()
	var queues sync.WaitGroup
	for q := range openQueues.Range {
		queues.Go(func() { q.(*lineQueue).flush(ctx) })
	}
	queues.Wait()
}

// flush waits until the sink has taken what waits. Other lines may follow, which
// are the last words of Caddy.
func (q *lineQueue) flush(ctx context.Context) {
	q.mu.Lock()
	empty := make(chan struct{})
	if q.waiting > 0 {
		q.empty = empty
	} else {
		close(empty)
	}
	q.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
	q.account(q.lost())
}
