// Sessions that another process has left behind when it was killed: they are ended at their
// servers, as far as those are still configured.

package upstream

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

const (
	// unknownFor is how long the server of a session may be unknown after the start. Then it
	// counts as not configured.
	unknownFor = time.Minute

	// awayFor is how long a server is left alone at which a logout has failed.
	awayFor = time.Minute
)

// leftovers ends what is left. Its methods are called from one goroutine.
type leftovers struct {
	state *State
	began time.Time
	away  map[[2]string]time.Time // until when a server is left alone, by product and origin
}

func newLeftovers(state *State) *leftovers {
	return &leftovers{state: state, began: time.Now(), away: make(map[[2]string]time.Time)}
}

// end ends a session that was left behind, or says why it cannot. It reports whether there
// is nothing more to do.
func (f *leftovers) end(ctx context.Context, l *tokencache.Left) (done bool) {
	now := time.Now()
	server, at := f.state.servers.at(l.Product, l.Origin)
	key := [2]string{l.Product, l.Origin}
	switch {
	case server == nil && now.Sub(f.began) < unknownFor:
		return false
	case server == nil:
		f.state.dropped(l)
		return true
	case l.Token == nil:
		server.unknown(l)
		return true
	case now.Before(f.away[key]):
		return false
	}
	if server.logoutLeft(ctx, at, l) == endingFailed {
		if now.Before(l.Until) {
			f.away[key] = now.Add(awayFor)
			return false
		}
		server.leftAlone(l)
	}
	return true
}

// said tells how a session has ended that was left behind.
func (s *Server) said(l *tokencache.Left, how ending) {
	renewing := !l.Began.IsZero() // the server may have opened one more
	switch {
	case how == endingNever:
		s.leftAlone(l)
		if renewing {
			s.unknown(l)
		}
	case how == endingGone && renewing:
		s.unknown(l)
	default:
		s.ended(l)
	}
}

// logoutLeft logs out a session that was left behind, as the configuration speaks to its
// server now.
func (s *Server) logoutLeft(ctx context.Context, at Fixed, l *tokencache.Left) ending {
	client := s.Client(at.Place, nil)
	if client.APIVersion == "" {
		client.APIVersion = l.Version
	}
	account := &veeam.Account{Name: l.Account, Username: l.User}
	client.Pacer, client.Log = s.pacer(l.Origin, account.User(), s.journal), s.journal.Info
	e := &logout{state: s.State, client: client, account: account, journal: s.journal, until: l.Until, say: func(how ending) { s.said(l, how) }}
	ctx, cancel := context.WithTimeout(WithValues(ctx, at.Values), LogoutFor)
	defer cancel()
	return e.run(ctx, l.Token)
}

// Outcomes of what was left behind, as the operator is told.
const (
	saidEnded   = "logged out a session that a process has left behind"
	saidAlone   = "a session that a process has left behind was not logged out, and expires"
	saidExpires = "a session that is not used any more was not logged out, because the product cannot end it alone; it expires"
	saidDropped = "a session that a process has left behind was not logged out, because its server is not configured any more; it expires"
	saidUnknown = "a process has ended during a login or renewal: the server may have a session that nobody can log out; it expires"
)

func (s *Server) ended(l *tokencache.Left) {
	s.Metrics.Left.WithLabelValues(s.Product.Name, metrics.LeftLoggedOut).Inc()
	s.Log.Info(saidEnded, leftFields(l)...)
}

func (s *Server) leftAlone(l *tokencache.Left) {
	s.Metrics.Left.WithLabelValues(s.Product.Name, metrics.LeftExpires).Inc()
	s.Log.Info(saidAlone, leftFields(l)...)
}

// unknown tells of a session that the server may have, and whose tokens nobody has. No
// product ends it alone: those that end the sessions of a user end the others, too.
func (s *Server) unknown(l *tokencache.Left) {
	s.Metrics.Left.WithLabelValues(s.Product.Name, metrics.LeftUnknown).Inc()
	s.Log.Warn(saidUnknown, append(leftFields(l), zap.Time("began", l.Began))...)
	if l.Own {
		s.State.Events.Emit(events.Account{Product: l.Product, Name: l.Account, Origin: l.Origin}.SessionLeft(l.Until))
	}
}

// dropped tells of a session at a server that is not configured.
func (s *State) dropped(l *tokencache.Left) {
	servers, _ := s.servers.inForce()
	if len(servers) == 0 {
		return
	}
	if product, ok := veeam.Lookup(l.Product); ok {
		servers[0].Metrics.Left.WithLabelValues(product.Name, metrics.LeftExpires).Inc()
	}
	servers[0].Log.Warn(saidDropped, leftFields(l)...)
}

func leftFields(l *tokencache.Left) []zap.Field {
	return []zap.Field{zap.String("product", l.Product), zap.String("account", l.Account), zap.String("origin", l.Origin), zap.Time("until", l.Until)}
}

// leftBehind is tokencache.Options.LeftBehind.
func (s *Session) leftBehind(since time.Time) {
	if since.IsZero() { // written by an earlier version
		since = time.Now()
	}
	if a := s.access.Load(); a != nil {
		a.source.server.unknown(&tokencache.Left{About: s.About(), Began: since, Until: since.Add(a.longest())})
	}
}

// longest is how long a session of the server lives that nobody uses.
func (a *access) longest() time.Duration { return a.source.server.Product.LongestSession() }
