// The end of a session that nobody uses any more.

package tokencache

import (
	"context"
	"errors"
)

var errEnded = errors.New("the session has ended")

// End removes the token from a session that is no longer used, and returns it for a
// logout. It waits for a running grant until ctx ends, because nobody would log out the
// token of that grant otherwise. It returns nil if there is nothing to log out.
func (s *Session) End(ctx context.Context) *Token {
	if stop := s.pinging.Load(); stop != nil {
		(*stop)()
	}
	select {
	case <-flights.DoChan(s.flight(), func() (any, error) { return nil, errEnded }):
	case <-ctx.Done():
	}
	tok := s.current.Swap(nil)
	if tok == nil {
		return nil
	}
	return tok
}
