// The end of a session that nobody uses any more.

package tokencache

import (
	"context"
	"errors"
)

var errEnded = errors.New("the session has ended")

// End takes the token out of a session that nobody will ask again, so that it
// can be logged out. It waits for a grant that is under way, because the token
// that it brings would otherwise be nobody's, but not longer than ctx. Nil means
// that there is nothing to log out.
func (s *Session) End(ctx context.Context) *Token {
	if stop := s.pinging.Load(); stop != nil {
		(*stop)()
	}
	select {
	case <-s.flights.DoChan("", func() (any, error) { return nil, errEnded }):
	case <-ctx.Done():
	}
	tok := s.current.Swap(nil)
	if tok == nil {
		return nil
	}
	return tok
}
