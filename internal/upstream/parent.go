// Sessions that serve other accounts: the parents of the grants as and
// authorization_code.

package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// parentTurn is the right to use a parent's session, and what was learned by
// those who had it before.
type parentTurn struct {
	taken chan struct{} // held by the one whose turn it is; guards the rest

	handed *tokencache.Token // handed out last
	silent time.Time         // when a grant with it had no answer last
	keeps  bool              // a token has served twice
	spends bool              // a token that had served was refused, a new one was not
}

func newParentTurn() *parentTurn { return &parentTurn{taken: make(chan struct{}, 1)} }

// parentUse is the use of a parent's session by one grant. A server may take a
// refresh token that was given away for used, so the parent has a session for
// this purpose alone, and one account at a time uses it: the turn ends with the
// grant's context at the latest.
type parentUse struct {
	source *Source // the parent's
	cause  *cause

	given   *tokencache.Token
	made    bool // given was made for this use
	again   bool // given had been handed out before
	retried bool // given is in place of one that was refused
}

// parent prepares the use of the account's parent at the same upstream.
func (s *Source) parent(o *cause) *parentUse {
	account, _ := s.server.Choose(s.account.Parent)
	key := sourceKey{account: account.Name, Address: s.key.Address, parent: true}
	return &parentUse{
		source: s.server.sessions.source(key, func() *Source { return s.server.newSource(key, account, s.place) }),
		cause:  o,
	}
}

// session hands over a session of the parent, see veeam.Account.Parent.
func (p *parentUse) session(ctx context.Context, refused *veeam.Token) (*veeam.Token, error) {
	turn := p.source.turn
	if p.given == nil {
		began := time.Now()
		select {
		case turn.taken <- struct{}{}:
			context.AfterFunc(ctx, func() { <-turn.taken })
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if turn.silent.After(began) { // who has waited once for a server that hangs does not do so again
			return nil, &ParentError{Account: p.source.account.Name, err: errParentSilent}
		}
	}
	if _, err := p.source.stable(ctx, ResolveEvery, p.cause); err != nil {
		return nil, &ParentError{Account: p.source.account.Name, err: err}
	}
	session := p.source.rotation.current.Load().session
	current, _ := session.Current(time.Now())
	switch {
	case refused != nil && p.made:
		return nil, veeam.ErrNoOtherSession
	case refused != nil:
		p.retried = true
		p.given.Exhaust()
		session.Reject(p.given)
	case turn.spends && current != nil && current == turn.handed:
		current.Exhaust()
		session.Reject(current)
	}
	var err error
	p.given, _, err = p.source.obtain(ctx, p.cause)
	if err != nil {
		return nil, &ParentError{Account: p.source.account.Name, err: err}
	}
	p.made = p.given != current
	p.again = p.given == turn.handed
	turn.handed = p.given
	return &veeam.Token{Access: p.given.Access, Refresh: p.given.Refresh, Requested: p.given.Requested}, nil
}

// hung is told that the server has not answered the grant. It is still this one's
// turn.
func (p *parentUse) hung() { p.source.turn.silent = time.Now() }

// succeeded is told that the grant has brought a token. It is still this one's
// turn.
func (p *parentUse) succeeded() {
	switch turn := p.source.turn; {
	case p.again:
		turn.keeps, turn.spends = true, false
	case p.retried && !turn.keeps:
		turn.spends = true
	}
}

var errParentSilent = &veeam.Error{Kind: veeam.KindTimeout, Hint: "the server has not answered another login with the session of the parent"}

// ParentError says that an account has no token because its parent has none. The
// account may retry soon, because the hold of the parent protects the parent's
// credential.
type ParentError struct {
	Account string
	err     error
}

func (e *ParentError) Error() string { return "parent account " + e.Account + ": " + e.err.Error() }

func (e *ParentError) Unwrap() error { return e.err }

// Reason returns the reason of the parent account.
func (e *ParentError) Reason() veeam.Reason { return veeam.ReasonOf(e.err) }

// OfParent returns the error of the parent account.
func (e *ParentError) OfParent() error { return e.err }

// CredentialRefused returns false: the parent's credential may be refused, the
// account's is not.
func (e *ParentError) CredentialRefused() bool { return false }

// Delay returns when to retry. It is short while the parent sends nothing to the
// server.
func (e *ParentError) Delay() time.Duration {
	if _, ok := errors.AsType[*tokencache.BlockedError](e.err); ok || errors.Is(e.err, errParentSilent) {
		return time.Second
	}
	return 0
}
