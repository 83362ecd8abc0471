// What follows a token request without an answer: no credential is sent to a
// server that hangs, until it answers a request without one.

package tokencache

import (
	"context"
	"errors"
	"time"
)

const (
	// knockEvery is how often a server that hangs is asked whether it answers again.
	// Each question waits for its own answer, so several may be under way.
	knockEvery = time.Second

	// knockFor is how long it is asked at most before a login is tried all the same,
	// and knockIdle for how long after the last request that needs a token.
	knockFor  = 5 * time.Minute
	knockIdle = 30 * time.Second
)

// knocker is an error of a GrantFunc that got no answer. Knock asks the server
// without a credential, and returns nil if it answers, whatever it says.
type knocker interface {
	error
	Knock(ctx context.Context) error
}

// unanswered returns the way to ask a server that has not answered, or nil.
func unanswered(err error) func(context.Context) error {
	if k, ok := errors.AsType[knocker](err); ok {
		return k.Knock
	}
	return nil
}

// knocked keeps a block in force while the server is asked, and tells its callers
// to come back soon. It sees to it that the server is asked.
func (s *Session) knocked(b *BlockedError, now time.Time) *BlockedError {
	s.asked.Store(now.UnixNano())
	if s.knocking.Load() == nil {
		ctx, stop := context.WithCancel(context.Background())
		if s.knocking.CompareAndSwap(nil, &stop) {
			go s.knock(ctx, stop, b)
		} else {
			stop()
		}
	}
	soon := *b
	soon.Until = now.Add(knockEvery)
	return &soon
}

// knock asks until the server answers, and lifts the block then. stop ends ctx.
func (s *Session) knock(ctx context.Context, stop context.CancelFunc, b *BlockedError) {
	defer s.knocking.Store(nil)
	defer stop()
	answered := make(chan struct{}, 1)
	for {
		go func() {
			if b.knock(ctx) == nil {
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
		case <-time.After(knockEvery):
		}
		now := time.Now()
		if idle := time.Duration(now.UnixNano() - s.asked.Load()); idle >= knockIdle || s.blocked(now) != b {
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
