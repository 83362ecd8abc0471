// Logins that no request has asked for: with login_at start, accounts log in when their
// configuration starts.

package upstream

import (
	"context"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
)

// KeepEvery is how often an account that logs in at the start is looked after: it logs in
// again where its hold or pause has passed, and its token is renewed before it expires.
const KeepEvery = 5 * time.Second

// Fixed is a server whose address is in the configuration, with what dialing it requires,
// see Request.Values.
type Fixed struct {
	Place
	Values context.Context
}

// Begin puts the server in force: its accounts count for State.Standings until Close. With
// atStart all accounts but templates log in at the fixed servers, in the background,
// within pace and budget as if requests had asked for it, and keep their sessions until
// Close.
func (s *Server) Begin(fixed []Fixed, atStart bool, log journal.Journal) {
	places := make([]Place, len(fixed))
	for i, at := range fixed {
		places[i] = at.Place
	}
	atStart = atStart && len(fixed) > 0
	s.State.servers.begin(s, places, atStart)
	if !atStart {
		return
	}
	for _, at := range fixed {
		for _, a := range s.Accounts {
			if !a.Template() {
				go s.keep(s.watch.ctx, at, a.Name, log)
			}
		}
	}
}

// keep asks for a token again and again, as requests would.
func (s *Server) keep(ctx context.Context, at Fixed, account string, log journal.Journal) {
	request := Request{Values: func(context.Context) context.Context { return at.Values }, Journal: log.Detached()}
	ticker := time.NewTicker(KeepEvery)
	defer ticker.Stop()
	for {
		// A source that was not used for long may have made room for others.
		if source, err := s.Source(at.Address, account, func() Place { return at.Place }); err == nil {
			_, _, _ = source.Token(ctx, request) // the state of the session has the error, and the log
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
