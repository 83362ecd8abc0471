// Sessions that serve other accounts: the parents of the grants as and
// authorization_code.

package caddymodule

import (
	"context"

	"github.com/caddy-veeam/veeam-auth/tokencache"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// parent returns what hands over a session of the account's parent at the same
// upstream. A server may take a refresh token that was given away for used, so
// the parent has a session for this purpose alone, and one account at a time
// uses it: the turn ends with the grant's ctx at the latest.
func (s *slot) parent(values context.Context, clientVersion string, journal journal) func(context.Context, *veeam.Token) (*veeam.Token, error) {
	account, _ := s.transport.choose(s.account.Parent)
	key := slotKey{account: account.Name, network: s.key.network, address: s.key.address, parent: true}
	parent := s.transport.sessions.slot(key, func() *slot { return s.transport.newSlot(key, account, s.target) })

	var given *tokencache.Token
	return func(ctx context.Context, refused *veeam.Token) (*veeam.Token, error) {
		if given == nil {
			select {
			case parent.turn <- struct{}{}:
				context.AfterFunc(ctx, func() { <-parent.turn })
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		l, err := parent.login(resolveEvery)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			l.session.Reject(given)
		}
		given, err = l.session.Get(ctx, parent.grant(values, l, clientVersion, journal))
		if err != nil {
			return nil, err
		}
		return &veeam.Token{Access: given.Access, Refresh: given.Refresh, Requested: given.Requested}, nil
	}
}
