// Logins that no request has asked for: with login_at start, accounts log in when their
// configuration starts.

package upstream

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
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
	atStart = atStart && len(fixed) > 0
	s.journal = log.Detached()
	if s.State.servers.begin(s, fixed, atStart) {
		s.State.books.begin(s)
	}
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
func (s *Server) keep(ctx context.Context, at Fixed, name string, log journal.Journal) {
	request := Request{Values: func(context.Context) context.Context { return at.Values }, Journal: log.Detached()}
	var told string
	ticker := time.NewTicker(KeepEvery)
	defer ticker.Stop()
	for {
		// A source that was not used for long may have made room for others.
		if source, err := s.Source(at.Address, name, func() Place { return at.Place }); err == nil {
			_, _, err = source.Token(ctx, request)
			told = s.tellUnreadable(err, told)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// tellUnreadable logs that the secrets of an account cannot be read, unless told says that
// already, and returns what is told now. The log of the login has every other error.
func (s *Server) tellUnreadable(err error, told string) string {
	failed, unreadable := errors.AsType[*account.Error](err)
	switch {
	case err == nil:
		return ""
	case !unreadable || failed.Error() == told:
		return told
	}
	s.Log.Error("an account cannot log in: its secret cannot be read", zap.String("reason", string(failed.Reason())), zap.Error(failed))
	return failed.Error()
}
