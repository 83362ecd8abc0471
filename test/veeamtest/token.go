// The token endpoint: reading the request, the checks before any grant, and the grants that products share.

package veeamtest

import (
	"mime"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

const maxForm = 1 << 20

func (s *Server) serveToken(x *exchange) {
	body, whole := x.readAll(maxForm)
	x.form = parseForm(string(body), s.product.foldFields)
	rec := s.record(x, string(body), x.form)
	defer func() { s.setStatus(rec, x.status) }()
	if !x.sleep(s.cfg.latency) {
		return
	}
	grant := func(x *exchange) {
		switch retry := s.throttled(); {
		case retry > 0:
			x.retry = retry
			s.tally(func(c *Counters) { c.Throttled++ })
			x.refuseToken(throttled)
		case x.wrongVersion():
			s.tally(func(c *Counters) { c.Refused++ })
		case !isForm(x.r.Header.Get("Content-Type")):
			x.refuseToken(unsupportedMedia)
		case !whole:
			x.refuseToken(badRequest)
		case x.form.grant() == "":
			x.refuseToken(missingField, "grant_type")
		default:
			serve := s.product.grants[x.form.grant()]
			if serve == nil {
				x.refuseToken(unknownGrant)
				return
			}
			serve(x)
		}
	}
	if !s.inject(x, OnToken, grant) {
		grant(x)
	}
}

func isForm(contentType string) bool {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	return mediaType == "application/x-www-form-urlencoded"
}

// refuseToken answers in the words that the product uses at its token endpoint.
func (x *exchange) refuseToken(why reason, field ...string) {
	x.s.tally(func(c *Counters) { c.Refused++ })
	p := lookup(x.s.product.refusals, why)
	if len(field) > 0 {
		p.field = field[0]
	}
	x.refuseIn(p, x.s.product.refusal)
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
func (s *Server) throttled() int {
	if s.cfg.throttleFor == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
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
	return int((t.until.Sub(now) + time.Second - 1) / time.Second)
}

// challenge is an mfa_token that was handed out.
type challenge struct {
	account         *account
	expires         time.Time
	tries           int
	readOnly, short bool
}

func (x *exchange) wantsShort() bool {
	return x.s.product.shortField != "" && x.form.bool(x.s.product.shortField)
}

func (x *exchange) wantsReadOnly() bool { return x.form.bool("readOnly") }

func passwordGrant(x *exchange) {
	fields, ok := x.require("username", "password")
	if !ok {
		return
	}
	s := x.s
	s.mu.Lock()
	a := s.account(fields[0])
	refused, wantsCode := true, false
	switch {
	case a == nil:
	case s.locked(a):
		s.count.Locked++
	case a.Password != fields[1]:
		s.failed(a)
	case (a.MFA || a.TOTPSecret != "") && !s.product.passwordMFA:
	default:
		refused, wantsCode = false, a.TOTPSecret != ""
	}
	s.mu.Unlock()
	switch {
	case refused:
		x.refuseToken(badCredentials)
	case wantsCode:
		x.challengeMFA(a)
	default:
		x.begin(a, x.wantsReadOnly(), x.wantsShort())
	}
}

func (x *exchange) challengeMFA(a *account) {
	s := x.s
	value := opaqueToken()
	s.mu.Lock()
	s.mfa[value] = &challenge{account: a, expires: s.now().Add(s.cfg.mfaLifetime), readOnly: x.wantsReadOnly(), short: x.wantsShort()}
	s.issued = append(s.issued, value)
	s.count.Challenges++
	s.mu.Unlock()
	x.json(200, s.product.challenge(x, a, value))
}

func mfaGrant(x *exchange) {
	fields, ok := x.require("mfa_token", "mfa_code")
	if !ok {
		return
	}
	s := x.s
	value := x.plus(fields[0])
	s.mu.Lock()
	c := s.mfa[value]
	why := reason("")
	switch {
	case c == nil || !s.now().Before(c.expires):
		delete(s.mfa, value)
		why = badMFAToken
	case s.locked(c.account):
		s.count.Locked++
		why = badCode
	case !s.spendCode(c.account, strings.TrimSpace(fields[1])):
		s.failed(c.account)
		if c.tries++; c.tries >= s.cfg.mfaTries {
			delete(s.mfa, value)
		}
		why = badCode
	default:
		delete(s.mfa, value)
	}
	s.mu.Unlock()
	if why != "" {
		x.refuseToken(why)
		return
	}
	x.begin(c.account, c.readOnly || x.wantsReadOnly(), c.short || x.wantsShort())
}

// spendCode accepts the code of the present step or a neighbour, once and never again a step that is not newer.
// The caller holds s.mu.
func (s *Server) spendCode(a *account, code string) bool {
	now := s.now()
	for _, step := range []int64{0, -1, 1} {
		at := now.Add(time.Duration(step) * totpPeriod)
		want, err := totp.GenerateCodeCustom(a.TOTPSecret, at, totp.ValidateOpts{
			Period: uint(totpPeriod / time.Second), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
		})
		if err != nil || want != code {
			continue
		}
		n := at.Unix() / int64(totpPeriod/time.Second)
		if n <= a.lastStep {
			s.count.DuplicateTOTP++
			return false
		}
		a.lastStep = n
		return true
	}
	return false
}

const totpPeriod = 30 * time.Second

func refreshGrant(x *exchange) {
	fields, ok := x.require("refresh_token")
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
	if t.spent || t.revoked {
		return nil, badRefresh
	}
	if !s.now().Before(t.expires) {
		return nil, expiredRefresh
	}
	t.spent = true
	return t.family, ""
}

// logout ends the session of the request's bearer.
func (x *exchange) logout() {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.token.family.end()
	x.s.count.Logouts++
}
