// One grant at the upstream: renew or log in, and say so in log and metrics.

package upstream

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// grant returns the function that gets a token. values is the grant's context
// apart from its time-out. Nothing of the request that causes it is sent.
func (s *Source) grant(values context.Context, l *candidate, journal journal.Journal) tokencache.GrantFunc {
	t := s.server
	client := t.Client(s.place, s.guard(l.credentials, journal))
	client.Pacer, client.Log = s.pacer(l.credentials.Account.User(), journal), journal.Info
	client.Clock = func(offset time.Duration) {
		t.Metrics.ClockOffset.WithLabelValues(t.Product.Name, s.account.Name).Set(offset.Seconds())
	}
	confirmed := *l.credentials.Account
	confirmed.Confirm = func(ctx context.Context) error { return s.confirm(ctx, l) }
	account := &confirmed
	var parent *parentUse
	if s.account.Parent != "" {
		withParent := *account
		parent = s.parent(values, journal)
		withParent.Parent = parent.session
		account = &withParent
	}
	siblings := s.key.parent || s.account.Serves()
	end := &logout{state: t.State, client: client, version: s.FoundVersion, account: account, values: values, journal: journal}
	get := func(ctx context.Context, prev *tokencache.Token) (*tokencache.Token, error) {
		if account.Grant == veeam.GrantAPIKey && prev != nil && prev.Rejected() {
			// There is nothing to get anew: the key itself was refused.
			err := &veeam.Error{Kind: veeam.KindRefused, Product: t.Product.Name, Grant: veeam.GrantAPIKey}
			t.observe(account.Grant, time.Now(), nil, err)
			journal.LoginFailed(account, err)
			return nil, err
		}
		client := s.versioned(ctx, client)
		// Of a guest whose credential is not known here, that is all there is.
		if prev != nil && worthRefreshing(account, prev) {
			start := time.Now()
			tok, err := client.step(ctx, func(c *veeam.Client) (*veeam.Token, error) { return c.Refresh(ctx, account, prev.Refresh) })
			t.observe(veeam.GrantRefreshToken, start, tok, err)
			if err == nil {
				journal.Refreshed(account)
				gained := s.gained(l, end, tok)
				gained.Revived = !prev.Renewable()
				return gained, nil
			}
			journal.RefreshFailed(account, err)
			if !fallsBack(err) {
				return nil, unanswered(err, client)
			}
			prev.Exhaust()
		}
		if l.kept.Load() {
			return nil, errReplaced
		}
		if l.session.used.Load() {
			err := &veeam.Error{Kind: veeam.KindRefused, Product: t.Product.Name, Grant: account.Grant, Hint: usedHint}
			journal.LoginFailed(account, err)
			return nil, err
		}
		if s.guest == nil {
			if err := l.session.lockCredentials(ctx); err != nil {
				return nil, err
			}
		}
		if siblings {
			if err := l.session.heldAtSibling(ctx); err != nil {
				return nil, err
			}
		}
		start := time.Now()
		tok, err := client.step(ctx, func(c *veeam.Client) (*veeam.Token, error) { return c.Login(ctx, account) })
		if err == nil && account.Grant == veeam.GrantAPIKey && s.rotation.current.Load() != l {
			err = keyFault(client.MayRead(ctx, tok)) // there is a key that works, so this one has to show that it does
		}
		t.observe(account.Grant, start, tok, err)
		if singleUse(account) && (err == nil || refusedGrant(err)) {
			l.session.used.Store(true)
		}
		if err != nil {
			journal.LoginFailed(account, err)
			if parent != nil && noAnswer(err) {
				parent.hung()
			}
			return nil, unanswered(err, client)
		}
		if parent != nil {
			parent.succeeded()
		}
		if siblings {
			l.session.accepted(ctx)
		}
		journal.Authenticated(account, tok)
		if prev != nil {
			l.session.replaced(end, prev) // a session of its own
		}
		gained := s.gained(l, end, tok)
		gained.Login = true
		return gained, nil
	}
	get = s.health.observed(get)
	l.session.grant.Store(&lastGrant{ender: end, get: get})
	return get
}

// worthRefreshing reports whether the refresh token of prev is tried before the
// grant of the account itself. One whose access token the server has ended early
// has probably ended, too: it is tried, once, where a login is dear.
func worthRefreshing(a *veeam.Account, prev *tokencache.Token) bool {
	switch {
	case prev.Renewable():
		return true
	case singleUse(a):
		return !prev.Exhausted() // there is nothing else
	}
	return a.TOTP != nil && prev.Revivable()
}

// unansweredError is a grant without an answer, with the way to see whether the
// server answers again.
type unansweredError struct {
	error
	client *veeam.Client
}

func (e *unansweredError) Unwrap() error { return e.error }

// Knock asks the server without a credential.
func (e *unansweredError) Knock(ctx context.Context) error { return e.client.Knock(ctx) }

// unanswered completes the error of a grant that got no answer.
func unanswered(err error, client *versionedClient) error {
	if !noAnswer(err) {
		return err
	}
	return &unansweredError{err, client.Client}
}

// noAnswer reports whether the server has a token request and does not answer it.
func noAnswer(err error) bool {
	if _, ok := errors.AsType[*ParentError](err); ok {
		return false // the parent's session asks
	}
	failed, ok := errors.AsType[*veeam.Error](err)
	return ok && failed.Kind == veeam.KindTimeout && !failed.Unsent
}

// gained keeps how to log out of what a grant has brought. What comes after the
// session's end is logged out when the requests that have waited for it should
// be over.
func (s *Source) gained(l *candidate, end *logout, tok *veeam.Token) *tokencache.Token {
	l.session.ender.Store(end)
	if l.session.ended.Load() {
		l.session.logoutLater()
	}
	if other := tok.LooksLike(s.server.Product); other != s.server.Product && !s.mistaken.Swap(true) {
		s.server.Log.Warn(OtherProduct(s.server.Product, other), zap.String("reason", string(veeam.ReasonWrongProduct)),
			zap.String("account", s.account.Name), zap.String("server", s.place.BaseURL))
	}
	return cached(tok)
}

// OtherProduct says that a login has worked at a server of another product.
func OtherProduct(configured, found *veeam.Product) string {
	return "the server answers the login like " + found.Title + ", not like " + configured.Title + ": set product " + found.Name
}

const usedHint = "the secret of this grant is valid for a single login and was used: configure a new one"

// singleUse reports whether the account's secret is good for one login. It is
// not sent again then: a server may take that for an attack and end the session
// that came of it.
func singleUse(a *veeam.Account) bool {
	return a.Grant == veeam.GrantRefreshToken || a.Grant == veeam.GrantMFA || a.Grant == veeam.GrantAuthorizationCode && a.Parent == nil
}

// keyFault makes a failed call with an API key the fault of its grant. A key whose
// user may not do this, or that the server understands too little of, works.
func keyFault(err error) error {
	failed, ok := errors.AsType[*veeam.Error](err)
	switch {
	case !ok:
		return err
	case failed.Kind == veeam.KindForbidden, failed.Kind == veeam.KindProtocol:
		return nil
	}
	fault := *failed
	fault.Grant = veeam.GrantAPIKey
	return &fault
}

func refusedGrant(err error) bool {
	var failed *veeam.Error
	return errors.As(err, &failed) && failed.Kind == veeam.KindRefused
}

// fallsBack reports whether a login may help where a refresh did not.
func fallsBack(err error) bool {
	var failed *veeam.Error
	if !errors.As(err, &failed) {
		return false
	}
	switch failed.Kind {
	case veeam.KindRefused, veeam.KindMFARequired, veeam.KindSSORequired, veeam.KindProtocol, veeam.KindMalformed,
		veeam.KindAccount, veeam.KindWrongUser:
		return true
	}
	return false
}

// cached is a token as the cache keeps it, with the shape of the server's answer.
func cached(tok *veeam.Token) *tokencache.Token {
	return &tokencache.Token{
		Access:    tok.Access,
		Refresh:   tok.Refresh,
		Requested: tok.Requested,
		Lifetime:  tok.Lifetime,
		Static:    tok.Grant == veeam.GrantAPIKey,
		Extra:     tok.Shape,
	}
}

// ShapeOf returns what the server's latest answer looked like, or nil.
func ShapeOf(tok *tokencache.Token) *veeam.Shape {
	shape, _ := tok.Extra.(*veeam.Shape)
	return shape
}

// resultOK and resultMFA are results of a token request beside the reasons of
// failures.
const (
	resultOK  = string(veeam.ReasonOK)
	resultMFA = "mfa" // the server wanted a verification code, which was sent next
)

// observe counts the token requests of one grant.
func (s *Server) observe(grant veeam.Grant, start time.Time, tok *veeam.Token, err error) {
	if grant == "" {
		grant = veeam.GrantPassword
	}
	count := func(step veeam.Grant, result string) {
		s.Metrics.Grants.WithLabelValues(s.Product.Name, string(step), result).Inc()
	}
	s.Metrics.GrantSeconds.WithLabelValues(s.Product.Name, string(grant)).Observe(time.Since(start).Seconds())
	last, result := grant, resultOK
	var failed *veeam.Error
	switch {
	case err == nil:
		last = tok.Grant
	case errors.As(err, &failed):
		last, result = failed.Grant, string(failed.Reason())
	default:
		result = string(veeam.ReasonOf(err))
	}
	if last == veeam.GrantMFA {
		count(grant, resultMFA)
	}
	count(last, result)
}
