// The password that is to follow, and what is said about secrets that are tried.

package upstream

import (
	"cmp"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// nextHold is how long a refused next_password is held at first. Both passwords
// are held then, and afterwards both may be tried: so much longer that the server
// gets no more wrong ones than of one password alone.
func nextHold(least time.Duration, shared bool) time.Duration {
	if shared {
		return 2 * cmp.Or(least, tokencache.DefaultHoldShared)
	}
	return 5 * cmp.Or(least, tokencache.DefaultHoldLeast)
}

// switched implements candidates.
func (s *Source) switched(l, before *candidate) {
	text, result := "The changed secret of account '"+s.account.Name+"' ("+l.credentials.Changed(before.credentials)+") is accepted and in use.", metrics.SecretAccepted
	if l.next {
		text, result = "The password of account '"+s.account.Name+"' is refused, next_password is in use.", metrics.SecretNextAccepted
	}
	s.server.countSecret(s.account, result)
	s.latest.Load().journal.Info(svclog.Exception(text, ""))
}

// refused says that the server refuses a secret that was tried in the place of
// another one.
func (s *Source) refused(l *candidate, j journal.Journal) {
	text, result := "The server refuses the changed secret of account '"+s.account.Name+"' ("+l.credentials.Changed(s.rotation.current.Load().credentials)+
		"). The current session stays in use as long as it can be renewed.", metrics.SecretRefused
	if l.next {
		text, result = "The server refuses next_password of account '"+s.account.Name+"', and the password too. Neither is sent until the hold ends.", metrics.SecretNextRefused
	}
	s.server.countSecret(s.account, result)
	j.Warn(svclog.Exception(text, ""))
}

func (s *Server) countSecret(a *account.Account, result string) {
	s.Metrics.Secrets.WithLabelValues(s.Product.Name, a.Name, result).Inc()
}
