// The spans of requests that wait for the login of another one.

package upstream

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// waiting is a request that asks for a token.
type waiting struct {
	since time.Time   // when it began to wait for a grant; zero if it need not wait
	own   atomic.Bool // the grant is its own
}

type waitingKey struct{}

// joined is tokencache.Options.Joined.
func joined(ctx context.Context) {
	if w, ok := ctx.Value(waitingKey{}).(*waiting); ok {
		w.since = time.Now()
	}
}

// waiting returns the grant of a request for a token of l, its values, and what to call
// when it has an answer. A request that is traced and waits for the grant of another one
// has a span with a link to that grant.
func (s *Source) waiting(l *candidate, o *cause) (grant tokencache.GrantFunc, values context.Context, ended func(error)) {
	if !tracing.Active(o.values) {
		return s.granter(l, o).get, o.values, func(error) {}
	}
	w := new(waiting)
	g := s.granter(l, o)
	grant = func(ctx context.Context, prev *tokencache.Token) (*tokencache.Token, error) {
		w.own.Store(true)
		return g.get(ctx, prev)
	}
	return grant, context.WithValue(o.values, waitingKey{}, w), func(err error) {
		if !w.since.IsZero() && !w.own.Load() {
			l.session.flight.Waited(o.values, tracing.About{Product: s.server.Product.Name, Account: s.account.Name}, w.since, failure(err))
		}
	}
}
