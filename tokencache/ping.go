// Servers that hang: after a token request without an answer no credential is sent until
// the server answers a ping, a request without one.

package tokencache

import (
	"context"
	"errors"
	"time"
)

const (
	// pingEvery is the time between two pings of a server that hangs. A ping does not wait
	// for the answer to the one before it.
	pingEvery = time.Second

	// pingFor is how long a server is pinged at most. A login is tried after that.
	// pingIdle is how long it is pinged after the last request that needs a token.
	pingFor  = 5 * time.Minute
	pingIdle = 30 * time.Second
)

// pinger is the error of a GrantFunc that got no answer. Ping sends the server a request
// without a credential and returns nil if it gets any answer.
type pinger interface {
	error
	Ping(ctx context.Context) error
}

// unanswered returns the Ping of a server that has not answered, or nil.
func unanswered(err error) func(context.Context) error {
	if k, ok := errors.AsType[pinger](err); ok {
		return k.Ping
	}
	return nil
}

// pinged returns the block for a request while the server hangs, and starts to ping the
// server if nothing does. Callers may retry after pingEvery.
func (s *Session) pinged(b *BlockedError, now time.Time) *BlockedError {
	s.asked.Store(now.UnixNano())
	if s.pinging.Load() == nil {
		ctx, stop := context.WithCancel(context.Background())
		if s.pinging.CompareAndSwap(nil, &stop) {
			go s.ping(ctx, stop, b)
		} else {
			stop()
		}
	}
	soon := *b
	soon.Until = now.Add(pingEvery)
	return &soon
}

// ping pings the server until it answers, and then lifts the block. stop ends ctx.
func (s *Session) ping(ctx context.Context, stop context.CancelFunc, b *BlockedError) {
	defer s.pinging.Store(nil)
	defer stop()
	answered := make(chan struct{}, 1)
	for {
		go func() {
			if b.ping(ctx) == nil {
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		}()
		select {
		case <-answered:
			s.lift(b)
			return
		case <-ctx.Done():
			return // the session has ended
		case <-time.After(pingEvery):
		}
		now := time.Now()
		if idle := time.Duration(now.UnixNano() - s.asked.Load()); idle >= pingIdle || s.blocked(now) != b {
			return
		}
	}
}

// lift ends a block if it is still in force.
func (s *Session) lift(b *BlockedError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == b {
		s.block = nil
	}
}
