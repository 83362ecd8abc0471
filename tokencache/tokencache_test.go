// Helpers of the tests, and the leak check over all of them.

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server stands for what answers the grants.
type server struct {
	takes    time.Duration
	lifetime time.Duration
	extra    any
	noted    *Token // prev of the last grant
	err      atomic.Pointer[error]
	calls    atomic.Int64
	inFlight atomic.Int64
	overlaps atomic.Int64
}

func (s *server) fail(err error) { s.err.Store(&err) }

func (s *server) grant(ctx context.Context, prev *Token) (*Token, error) {
	if s.inFlight.Add(1) > 1 {
		s.overlaps.Add(1)
	}
	defer s.inFlight.Add(-1)
	n := s.calls.Add(1)
	requested := time.Now()
	s.noted = prev
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := s.err.Load(); err != nil && *err != nil {
		return nil, *err
	}
	return &Token{
		Access:    secret.New(fmt.Sprintf("access-%d", n)),
		Refresh:   secret.New(fmt.Sprintf("refresh-%d", n)),
		Requested: requested,
		Lifetime:  s.lifetime,
		Extra:     s.extra,
	}, nil
}

type refusal struct{}

func (refusal) Error() string           { return "wrong password" }
func (refusal) CredentialRefused() bool { return true }

type throttled time.Duration

func (throttled) Error() string          { return "too many requests" }
func (t throttled) Delay() time.Duration { return time.Duration(t) }

var errNetwork = errors.New("connection reset")

func mustGet(t *testing.T, s *Session, srv *server) *Token {
	t.Helper()
	tok, err := s.Get(context.Background(), srv.grant)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return tok
}
