// The token endpoint: reading the request, the checks before any grant, and the grants that products share.

package veeamtest

import (
	"mime"
	"net/http"
	"strings"
	"time"
)

const maxForm = 1 << 20

// serveToken is the token endpoint proper: a form that names its grant.
func serveToken(x *exchange) {
	known := x.readForm()
	x.grant = x.form.grant()
	x.attempt(func(x *exchange) {
		serve := x.s.product.grants[x.grant]
		switch {
		case !known:
			x.refuseToken(unsupportedMedia)
		case x.grant == "":
			x.refuseToken(missingField, "grant_type")
		case serve == nil:
			x.refuseToken(unknownGrant)
		default:
			serve(x)
		}
	})
}

// attempt does what any login is surrounded by: record, latency, faults, throttling, the version check.
func (x *exchange) attempt(work func(*exchange)) {
	s := x.s
	rec := s.record(x)
	defer func() { s.setStatus(rec, x.status) }()
	if !x.sleep(s.cfg.latency) {
		return
	}
	checked := func(x *exchange) {
		switch retry := s.throttled(x.r.RemoteAddr); {
		case retry > 0:
			if !s.product.noRetryAfter {
				x.retry = retry
			}
			s.tally(func(c *Counters) { c.Throttled++ })
			x.refuseToken(throttled)
		case x.wrongVersion():
			s.tally(func(c *Counters) { c.Refused++ })
		case x.body == nil:
			x.refuseToken(badRequest)
		default:
			work(x)
		}
	}
	if !s.inject(x, OnToken, checked) {
		checked(x)
	}
}

// readBody takes in the request's body. It stays nil when it broke off or is too long.
func (x *exchange) readBody() {
	if body, ok := x.readAll(maxForm); ok {
		x.body = body
	}
}

// readForm takes in the request's fields, and reports whether the product reads bodies of that type.
func (x *exchange) readForm() bool {
	x.readBody()
	x.form = form{fold: x.s.product.foldFields, exact: x.s.product.exactGrants}
	mediaType, params, _ := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	switch {
	case mediaType == "application/x-www-form-urlencoded":
		x.form.values = parseForm(string(x.body))
	case mediaType == "multipart/form-data" && x.s.product.multipart:
		x.form.values = parseMultipart(x.body, params["boundary"])
	case mediaType == "application/json" && x.s.product.jsonBody:
		if x.form.values = parseJSON(x.body); x.form.values == nil {
			x.body = nil
		}
	default:
		return false
	}
	return true
}

// refuseToken answers in the words that the product uses at its token endpoint.
func (x *exchange) refuseToken(why reason, field ...string) {
	x.s.tally(func(c *Counters) { c.Refused++ })
	p := lookup(x.dialect.refusals, why)
	p.status = or(p.status, x.s.cfg.refusedStatus)
	if len(field) > 0 {
		p.field = field[0]
	}
	x.refuseIn(p, x.dialect.refusal)
}

// require returns the named fields. When one is missing it answers so and reports false.
func (x *exchange) require(names ...string) ([]string, bool) {
	values := make([]string, len(names))
	for i, name := range names {
		if values[i] = x.form.get(name); values[i] == "" {
			x.refuseToken(missingField, name)
			return nil, false
		}
	}
	return values, true
}

// plus mends a value in Base64 in which a forgotten escape turned + into a space, if the server is so tolerant.
func (x *exchange) plus(value string) string {
	if x.s.cfg.barePlus {
		return strings.ReplaceAll(value, " ", "+")
	}
	return value
}

type throttle struct {
	passed int
	until  time.Time
}

// throttled returns for how many seconds token requests are refused, 0 when this one may pass.
func (s *Server) throttled(from string) int {
	if s.cfg.exemptLoopback && loopback(from) {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if wait := s.limited(now); wait > 0 || s.cfg.throttleFor == 0 {
		return wholeSeconds(wait)
	}
	t := &s.throttle
	if !t.until.IsZero() && !now.Before(t.until) {
		*t = throttle{}
	}
	if t.passed < s.cfg.throttleAfter {
		t.passed++
		return 0
	}
	if t.until.IsZero() {
		t.until = now.Add(s.cfg.throttleFor)
	}
	return wholeSeconds(t.until.Sub(now))
}

func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func passwordGrant(x *exchange) {
	fields, ok := x.require("username", "password")
	if !ok {
		return
	}
	s, d := x.s, x.dialect
	next := func() { x.refuseToken(badCredentials) }
	s.mu.Lock()
	a := s.account(fields[0])
	switch {
	case a == nil:
	case s.locked(a):
		s.count.Locked++
	case a.Password != fields[1]:
		s.failed(a)
	case a.MFA && d.challenge == nil:
	case a.RedirectTo != "" && d.redirect != nil:
		next = func() { x.json(http.StatusOK, d.redirect(x, a)) }
	case a.TOTPSecret != "" && d.challenge != nil:
		next = func() { x.challengeMFA(a) }
	default:
		next = func() { x.begin(a, x.wish()) }
	}
	s.mu.Unlock()
	next()
}

func refreshGrant(x *exchange) { x.refresh("refresh_token") }

// refresh renews the session of the refresh token in a field.
func (x *exchange) refresh(field string) {
	fields, ok := x.require(field)
	if !ok {
		return
	}
	f, why := x.spendRefresh(fields[0])
	if why != "" {
		x.refuseToken(why)
		return
	}
	x.renew(f)
}

// spendRefresh uses up a refresh token and returns its session.
func (x *exchange) spendRefresh(value string) (*family, reason) {
	s := x.s
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[value]
	if t == nil || !t.refresh {
		return nil, badRefresh
	}
	if t.spent && s.cfg.reuseRevokes {
		t.family.end()
	}
	if t.spent || t.revoked || !x.guarded(t) {
		return nil, badRefresh
	}
	if !s.now().Before(t.expires) {
		return nil, expiredRefresh
	}
	t.spent = !s.cfg.reusableRefresh
	return t.family, ""
}

// logout ends the session of the request's bearer.
func (x *exchange) logout() {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.token.family.end()
	x.s.count.Logouts++
}
