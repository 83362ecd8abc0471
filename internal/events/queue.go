// How events reach those who react to them: in order, behind each other, and never in the
// way of a request.

package events

import (
	"sync"
	"sync/atomic"
)

// maxQueued is how many events of one configuration wait for delivery. More are dropped:
// whoever reacts to them hangs, or is slower than they come.
const maxQueued = 256

// Queue has the events of one configuration. Create it with NewQueue.
type Queue struct {
	dropped func(Event)

	mu      sync.Mutex
	deliver func(Event) // nil before Open and after Close
	waiting []Event
	running bool // a goroutine delivers
	closed  bool
}

// NewQueue returns a queue that keeps its events until Open. dropped is called for each
// event that is not delivered: because too many wait, by whoever raises it, or because the
// delivery has panicked.
func NewQueue(dropped func(Event)) *Queue { return &Queue{dropped: dropped} }

// Open begins to deliver: one event at a time, in the order in which they were raised, in
// a goroutine that exists only while there are any.
func (q *Queue) Open(deliver func(Event)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.deliver = deliver
	q.startLocked()
}

// Close discards what waits. A delivery that is under way goes on.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.deliver, q.waiting = true, nil, nil
}

func (q *Queue) add(e Event) {
	q.mu.Lock()
	full := len(q.waiting) >= maxQueued
	if !full && !q.closed {
		q.waiting = append(q.waiting, e)
		q.startLocked()
	}
	q.mu.Unlock()
	if full {
		q.dropped(e)
	}
}

func (q *Queue) startLocked() {
	if q.running || q.deliver == nil || len(q.waiting) == 0 {
		return
	}
	q.running = true
	go q.run()
}

func (q *Queue) run() {
	for {
		q.mu.Lock()
		if q.deliver == nil || len(q.waiting) == 0 {
			q.running = false
			q.mu.Unlock()
			return
		}
		next, deliver := q.waiting[0], q.deliver
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		q.hand(next, deliver)
	}
}

// hand delivers one event. Whoever reacts to it may panic.
func (q *Queue) hand(e Event, deliver func(Event)) {
	defer func() {
		if recover() != nil {
			q.dropped(e)
		}
	}()
	deliver(e)
}

// Emitter raises events for the configuration that is in force. The zero value discards
// them.
type Emitter struct {
	current atomic.Pointer[Queue]

	mu     sync.Mutex
	queues []*Queue // the last one is current
}

// Emit raises an event. It neither blocks nor waits for anybody.
func (m *Emitter) Emit(e Event) {
	if q := m.current.Load(); q != nil {
		q.add(e)
	}
}

// Use has a queue get the events from now on.
func (m *Emitter) Use(q *Queue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queues = append(m.queues, q)
	m.current.Store(q)
}

// Leave is told that the configuration of a queue has ended. If the queue gets the events,
// the one before it gets them again.
func (m *Emitter) Leave(q *Queue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, other := range m.queues {
		if other == q {
			m.queues = append(m.queues[:i:i], m.queues[i+1:]...)
			break
		}
	}
	var last *Queue
	if n := len(m.queues); n > 0 {
		last = m.queues[n-1]
	}
	m.current.Store(last)
}
