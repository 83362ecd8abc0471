// Sessions: the tokens that a login led to, and what ends them.

package veeamtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// family is a login and every token that came from it.
type family struct {
	id       string
	begun    time.Time
	account  *account
	userType string // Azure's word for where the user comes from
	readOnly bool
	short    bool // its refresh tokens are short-lived
	as       bool // begun by acting as this user
	ended    bool
	tokens   []*token
}

type token struct {
	value    string
	scope    string // where it is valid, see exchange.scope
	refresh  bool
	readOnly bool
	family   *family
	expires  time.Time
	revoked  bool
	guard    string // the value of a cookie that must come with it
	spent    bool   // a refresh token that was exchanged
}

func (t *token) good(now time.Time) bool {
	return !t.revoked && !t.spent && now.Before(t.expires)
}

func (f *family) alive(now time.Time) bool {
	return slices.ContainsFunc(f.tokens, func(t *token) bool { return t.good(now) })
}

// end revokes whatever the login led to. The caller holds Server.mu.
func (f *family) end() {
	f.ended = true
	for _, t := range f.tokens {
		t.revoked = true
	}
}

// endAll ends every session of a. The caller holds Server.mu.
func (a *account) endAll() {
	for _, f := range a.families {
		f.end()
	}
	a.families = nil
}

// touch prolongs a session that is ended by idleness. The caller holds Server.mu.
func (s *Server) touch(x *exchange, t *token, now time.Time) {
	if !s.product.sliding || s.cfg.quietLogonChecks && x.operation == emLogonCheck {
		return
	}
	t.expires = now.Add(s.cfg.access)
	if end := t.family.begun.Add(s.cfg.sessionLifetime); s.cfg.sessionLifetime > 0 && end.Before(t.expires) {
		t.expires = end
	}
}

// scope is where the token of a request must be valid: "" for the product's API.
func (x *exchange) scope() string {
	switch {
	case x.access == private:
		return privateScope
	case x.access == extension && x.s.cfg.plugInTokens:
		return strings.ToLower(x.params["instance"])
	}
	return ""
}

// prune forgets sessions that are over, so that login storms do not pile up. The caller holds Server.mu.
func (a *account) prune(now time.Time) {
	if len(a.families) < 256 {
		return
	}
	live := a.families[:0]
	for _, f := range a.families {
		if f.alive(now) {
			live = append(live, f)
		}
	}
	a.families = live
}

// RevokeAll revokes all access and refresh tokens.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		a.endAll()
	}
}

// RevokeAccess revokes all access tokens. Refresh tokens remain valid.
func (s *Server) RevokeAccess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		for _, f := range a.families {
			f.revokeAccess()
		}
	}
}

func (f *family) revokeAccess() {
	for _, t := range f.tokens {
		if !t.refresh {
			t.revoked = true
		}
	}
}

// sign makes a pair of tokens for f.
func (s *Server) sign(f *family) issue {
	now := s.now()
	lifetime := s.cfg.refresh
	if f.short {
		lifetime = s.shortLifetime()
	}
	claims := claimSet{
		server: s, account: f.account, session: f.id, id: uuid(), now: now,
		access: now.Add(s.cfg.access), refresh: now.Add(lifetime), short: f.short,
	}
	access, refresh := s.product.mint(claims)
	return issue{
		account: f.account, session: f.id, access: access, refresh: refresh,
		issued: now, expires: claims.access, lifetime: s.cfg.access, short: f.short, userType: f.userType,
	}
}

func (s *Server) shortLifetime() time.Duration {
	if s.cfg.short != 0 {
		return s.cfg.short
	}
	if s.product.short != nil {
		return s.product.short(s.cfg.access)
	}
	return s.cfg.refresh
}

// keep makes the tokens of i good. The caller holds s.mu.
func (s *Server) keep(f *family, i issue, readOnly bool) {
	lifetime := s.cfg.refresh
	if f.short {
		lifetime = s.shortLifetime()
	}
	// A session that ended while its new pair was being signed stays ended.
	for _, t := range []*token{
		{value: i.access, family: f, expires: i.expires, revoked: f.ended, readOnly: readOnly, guard: i.guard},
		{value: i.refresh, refresh: true, family: f, expires: i.issued.Add(lifetime), revoked: f.ended, guard: i.guard},
	} {
		if t.value == "" {
			continue
		}
		f.tokens = append(f.tokens, t)
		s.tokens[t.value] = t
		s.issued = append(s.issued, t.value)
	}
}

// wish is what a client may ask for beside a session.
type wish struct {
	readOnly, short bool
	as              bool // the user is acted as by another
	userType        string
}

func (x *exchange) wish() wish {
	short := x.s.product.shortField
	return wish{readOnly: x.form.bool("readOnly"), short: short != "" && x.form.bool(short)}
}

// pair makes the tokens that answer x.
func (x *exchange) pair(f *family) issue {
	i := x.s.sign(f)
	i.grant = x.grant
	if x.s.product.guard != nil {
		i.guard = x.s.product.guard(x)
	}
	return i
}

// begin logs a in: it answers with a new session.
func (x *exchange) begin(a *account, w wish) {
	s := x.s
	f := &family{id: uuid(), begun: s.now(), account: a, readOnly: w.readOnly || a.ReadOnly, short: w.short, as: w.as, userType: w.userType}
	i := x.pair(f)
	s.mu.Lock()
	if s.cfg.singleSession {
		a.endAll()
	}
	a.failures = 0
	a.prune(i.issued)
	a.families = append(a.families, f)
	s.keep(f, i, f.readOnly)
	s.count.Logins++
	s.mu.Unlock()
	x.document(or(x.dialect.granted, http.StatusOK), x.dialect.success(x, i))
}

// renew answers with a new pair for the session f.
func (x *exchange) renew(f *family) {
	s := x.s
	if f.as {
		if other := s.mixUp(f.account); other != f.account {
			x.begin(other, wish{readOnly: f.readOnly, as: true})
			return
		}
	}
	i := x.pair(f)
	readOnly := x.wish().readOnly || f.account.ReadOnly || f.readOnly && !s.cfg.refreshDropsReadOnly
	s.mu.Lock()
	if s.cfg.refreshRevokesAccess {
		f.revokeAccess()
	}
	s.keep(f, i, readOnly)
	s.count.Refreshes++
	s.mu.Unlock()
	x.document(or(x.dialect.granted, http.StatusOK), x.dialect.success(x, i))
}
