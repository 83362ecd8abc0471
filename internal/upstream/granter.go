// A granter gets the tokens of one candidate: it renews a session or logs in, and says
// so in log and metrics.

package upstream

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// access is how a session logs in and out: what it remembers of the latest request that
// has needed a token, because there may be very many sessions. The rest is made of it.
type access struct {
	source    *Source
	candidate *candidate
	*cause
}

// account is that of the candidate, which confirms its secrets.
func (a *access) account() *veeam.Account {
	account := *a.candidate.credentials.Account
	account.ReturnMFAChallenge = account.ReturnMFAChallenge || a.source.passthrough == nil
	account.Confirm = func(ctx context.Context) error { return a.source.confirm(ctx, a.candidate) }
	return &account
}

// logout is that of a session that was got by a.
func (a *access) logout() *logout {
	return &logout{
		state: a.source.server.State, client: a.source.client(a.candidate, &a.journal), version: a.source.FoundVersion,
		account: a.account(), values: a.values, journal: a.journal, say: a.said,
	}
}

// said tells of a session that is not used any more and cannot be logged out.
func (a *access) said(how ending) {
	if s := a.source.server; how == endingNever && a.source.account.GrantType() != veeam.GrantAPIKey {
		s.Log.Info(saidExpires, leftFields(&tokencache.Left{About: a.candidate.session.About(), Until: time.Now().Add(a.longest())})...)
	}
}

// granter returns what gets tokens.
func (a *access) granter() *granter {
	g := &granter{access: a, client: a.source.client(a.candidate, &a.journal), account: a.account()}
	if a.source.account.Parent != "" {
		g.parent = a.source.parent(a.cause)
		g.account.Parent = g.parent.session
	}
	return g
}

// granter gets the tokens of one candidate for the request that causes the grant. Its get
// is the tokencache.GrantFunc of the candidate's session. Nothing of the request is sent.
type granter struct {
	*access

	client  *veeam.Client  // names an API version only if one is configured
	account *veeam.Account // that of the candidate, which confirms its secrets and knows its parent
	parent  *parentUse     // nil if the account logs in by itself
}

// granter returns what gets tokens for l. The values of o are the grant's context apart from
// its time-out.
func (s *Source) granter(l *candidate, o *cause) *granter {
	a := &access{s, l, o}
	l.session.access.Store(a)
	return a.granter()
}

// granter returns what gets tokens for an operator, nil if no request has required one yet.
func (s *Session) granter() *granter {
	if a := s.access.Load(); a != nil {
		return a.granter()
	}
	return nil
}

// client is the client of the logins with l, which the server's limits hold back.
func (s *Source) client(l *candidate, journal *journal.Journal) *veeam.Client {
	client := s.server.Client(s.place, s.guard(l.credentials, *journal))
	client.Transport = observing{client.Transport, s.health}
	client.Pacer, client.Log = s.pacer(l.credentials.Account.User(), *journal), journal.Info
	client.Clock = func(offset time.Duration) {
		s.server.Metrics.ClockOffset.WithLabelValues(s.server.Product.Name, s.account.Name).Set(offset.Seconds())
	}
	return client
}

// get gets a token in place of prev, which may be nil, and reports to the health of the
// server how that ended.
func (g *granter) get(ctx context.Context, prev *tokencache.Token) (*tokencache.Token, error) {
	tok, err := g.grant(ctx, prev)
	g.source.health.granted(err)
	g.source.dialed(err)
	g.source.certified(err, time.Now())
	return tok, err
}

// grant renews the session of prev if that is worth a try, and logs in otherwise or if a
// login may help where the renewal failed.
func (g *granter) grant(ctx context.Context, prev *tokencache.Token) (*tokencache.Token, error) {
	if g.account.Grant == veeam.GrantAPIKey && prev != nil && prev.Rejected() {
		return nil, g.keyRefused()
	}
	client := g.source.versioned(ctx, g.client)
	idling := g.source.server.Product.Idling() // a renewal would bring the token that was rejected
	if prev != nil && worthRefreshing(g.account, g.candidate.session.coded.Load(), prev) && !(idling && prev.Rejected()) {
		tok, err := g.renew(ctx, client, prev)
		if err == nil {
			return tok, nil
		}
		if !fallsBack(err) {
			return nil, unanswered(err, client)
		}
		prev.Exhaust()
	}
	entered := g.candidate.session.takeEntry()
	if err := g.mayLogIn(ctx, entered); err != nil {
		return nil, g.ended(entered, nil, err)
	}
	tok, err := g.logIn(ctx, client, entered)
	if err != nil {
		return nil, unanswered(err, client)
	}
	if prev != nil {
		g.candidate.session.replaced(g.access, prev) // a session of its own
	}
	return tok, nil
}

// keyRefused is the error where the server has refused an API key itself: a login would
// only send it again.
func (g *granter) keyRefused() error {
	err := &veeam.Error{Kind: veeam.KindRefused, Product: g.source.server.Product.Name, Grant: veeam.GrantAPIKey}
	g.source.server.observe(g.account.Grant, time.Now(), nil, err)
	g.journal.LoginFailed(g.account, err)
	return err
}

// renew sends the refresh token of prev.
func (g *granter) renew(ctx context.Context, client *versionedClient, prev *tokencache.Token) (_ *tokencache.Token, err error) {
	start := time.Now()
	ctx, end := g.span(ctx, tracing.Renewal, veeam.GrantRefreshToken)
	defer func() { end(err) }()
	note := g.asking(ctx, prev)
	tok, err := client.step(ctx, func(c *veeam.Client) (*veeam.Token, error) { return c.Refresh(ctx, g.account, prev.Refresh) })
	g.source.server.observe(veeam.GrantRefreshToken, start, tok, err)
	if err != nil {
		g.journal.RefreshFailed(g.account, err)
		return nil, err
	}
	g.journal.Refreshed(g.account)
	gained := g.gained(ctx, tok, note)
	gained.Revived, gained.Kept = !prev.Renewable(), g.source.server.Product.Idling()
	return gained, nil
}

// mayLogIn returns why the credential is not sent, or nil. It waits until no other
// credential of the account's user is being sent. entered is what an operator has entered
// for this login, or nil.
func (g *granter) mayLogIn(ctx context.Context, entered *entry) error {
	session := g.candidate.session
	if g.candidate.kept.Load() {
		return errReplaced
	}
	if waits := session.Suspended(); waits != nil && entered == nil {
		return waits.Cause
	}
	if session.used.Load() && !session.answers(entered) {
		err := &veeam.Error{Kind: veeam.KindRefused, Product: g.source.server.Product.Name, Grant: g.account.Grant, Hint: usedHint}
		g.journal.LoginFailed(g.account, err)
		return err
	}
	if g.source.passthrough == nil { // of a passthrough user, no other credential is known here
		if err := session.lockCredentials(ctx); err != nil {
			return err
		}
	}
	if g.hasSibling() && entered == nil {
		return session.heldAtSibling(ctx)
	}
	return nil
}

// hasSibling reports whether another session has the same credential.
func (g *granter) hasSibling() bool { return g.source.key.parent || g.source.account.Serves() }

// span begins the span of a grant, to which those who wait for it refer.
func (g *granter) span(ctx context.Context, name string, grant veeam.Grant) (context.Context, func(error)) {
	ctx, end := tracing.Start(ctx, name, tracing.About{Product: g.source.server.Product.Name, Account: g.source.account.Name, Grant: string(cmp.Or(grant, veeam.GrantPassword))})
	g.candidate.session.flight.Begin(ctx)
	return ctx, func(err error) { end(failure(err)) }
}

// failure is the reason of an error, empty for none.
func failure(err error) string {
	if err == nil {
		return ""
	}
	return string(veeam.ReasonOf(err))
}

// logIn sends the credential of the account, or what an operator has entered.
func (g *granter) logIn(ctx context.Context, client *versionedClient, entered *entry) (_ *tokencache.Token, err error) {
	start := time.Now()
	ctx, client, account := g.loginWith(ctx, client, entered)
	ctx, end := g.span(ctx, tracing.Login, account.Grant)
	defer func() { end(err) }()
	note := g.begin(ctx)
	tok, err := client.step(ctx, func(c *veeam.Client) (*veeam.Token, error) { return c.Login(ctx, account) })
	if err == nil {
		err = g.proveKey(ctx, client, tok)
	}
	g.source.server.observe(account.Grant, start, tok, err)
	if singleUse(g.account) && !entered.replaces() && spent(err) {
		g.candidate.session.used.Store(true)
	}
	if err != nil {
		note.Strike(ctx)
		g.journal.LoginFailed(account, err)
		if g.parent != nil && noAnswer(err) {
			g.parent.hung()
		}
		return nil, g.ended(entered, nil, err)
	}
	_ = g.ended(entered, tok, nil)
	if g.parent != nil {
		g.parent.succeeded()
	}
	if g.hasSibling() {
		g.candidate.session.accepted(ctx)
	}
	g.journal.Authenticated(g.account, tok)
	gained := g.gained(ctx, tok, note)
	gained.Login = !entered.replaces() // of that secret, the server has accepted nothing
	return gained, nil
}

// proveKey makes a call with an API key that is to take the place of one that works: for a
// key, a login sends nothing.
func (g *granter) proveKey(ctx context.Context, client *versionedClient, tok *veeam.Token) error {
	if g.account.Grant != veeam.GrantAPIKey || g.source.rotation.current.Load() == g.candidate {
		return nil
	}
	return keyFault(client.MayRead(ctx, tok))
}

// gained writes the session of tok down, before anybody uses it. It keeps how to log out of the session that tok belongs to, and warns once if the
// server looks like another product. What comes after the end of the candidate's session
// is logged out when the requests that have waited for it should be over.
func (g *granter) gained(ctx context.Context, tok *veeam.Token, note *tokencache.Note) *tokencache.Token {
	gained := cached(tok)
	gained.Extra, gained.Note = g.source.server.shapes.shared(tok.Shape), note
	note.Keep(ctx, gained, g.longest())
	session, configured := g.candidate.session, g.source.server.Product
	session.ender.Store(g.access)
	if session.ended.Load() {
		session.logoutLater()
	}
	if found := tok.LooksLike(configured); found != configured && !g.source.mistaken.Swap(true) {
		g.source.server.Log.Warn(OtherProduct(configured, found), zap.String("reason", string(veeam.ReasonWrongProduct)),
			zap.String("account", g.source.account.Name), zap.String("server", g.source.place.BaseURL))
	}
	return gained
}

// worthRefreshing reports whether the refresh token of prev is tried before the
// grant of the account itself. One whose access token the server has ended early
// has probably ended, too: it is tried, once, where a login is dear. codes reports that
// a person has to enter a code for it.
func worthRefreshing(a *veeam.Account, codes bool, prev *tokencache.Token) bool {
	switch {
	case prev.Renewable():
		return true
	case singleUse(a):
		return !prev.Exhausted() // there is nothing else
	}
	return (a.TOTP != nil || codes) && prev.Revivable()
}
