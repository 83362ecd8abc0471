// Multi-factor authentication: challenges, TOTP and scratch codes, enrolment.

package veeamtest

import (
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// challenge is an mfa_token that was handed out.
type challenge struct {
	account *account
	expires time.Time
	tries   int
	wish    wish
}

func (x *exchange) challengeMFA(a *account) {
	s := x.s
	value := opaqueToken()
	s.mu.Lock()
	s.mfa[value] = &challenge{account: a, expires: s.now().Add(s.cfg.mfaLifetime), wish: x.wish()}
	s.issued = append(s.issued, value)
	s.count.Challenges++
	s.mu.Unlock()
	x.document(or(x.dialect.challenged, http.StatusOK), x.dialect.challenge(x, a, value))
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
	w := x.wish()
	w.readOnly, w.short = w.readOnly || c.wish.readOnly, w.short || c.wish.short
	x.begin(c.account, w)
}

const totpPeriod = 30 * time.Second

// stepOf is the number of whole periods of a code since 1970.
func (s *Server) stepOf(t time.Time) int64 { return t.Unix() / int64(s.cfg.codePeriod/time.Second) }

// unusual is what an otpauth URI says of codes that are of another period than usual.
func (s *Server) unusual() string {
	if s.cfg.codePeriod == totpPeriod {
		return ""
	}
	return fmt.Sprintf("&period=%d", s.cfg.codePeriod/time.Second)
}

// totpStep finds the step, present or near, whose code is given.
func (s *Server) totpStep(secret, code string) (step int64, ok bool) {
	present := s.stepOf(s.now())
	for skew := -s.product.skew; skew <= s.product.skew; skew++ {
		step := present + skew
		want, err := totp.GenerateCodeCustom(secret, time.Unix(step*int64(s.cfg.codePeriod/time.Second), 0), totp.ValidateOpts{
			Period: uint(s.cfg.codePeriod / time.Second), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
		})
		if err == nil && want == code {
			return step, true
		}
	}
	return 0, false
}

// spendCode accepts a TOTP code once, and never again one of a step that is not newer, or a scratch code once.
// The caller holds s.mu.
func (s *Server) spendCode(a *account, code string) bool {
	if step, ok := s.totpStep(a.TOTPSecret, code); ok {
		if step <= a.lastStep {
			s.count.DuplicateTOTP++
			return false
		}
		a.lastStep = step
		return true
	}
	if i := slices.Index(a.scratch, code); i >= 0 {
		a.scratch = slices.Delete(a.scratch, i, i+1)
		s.count.ScratchCodes++
		return true
	}
	return false
}

// ScratchCodes returns the remaining scratch codes of user. Only Azure and AWS issue
// scratch codes.
func (s *Server) ScratchCodes(user string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.account(user); a != nil {
		return slices.Clone(a.scratch)
	}
	return nil
}

// TOTPSecret returns the seed of user's codes, "" if MFA is off.
func (s *Server) TOTPSecret(user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.account(user); a != nil {
		return a.TOTPSecret
	}
	return ""
}

func newSecret() string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(randomBytes(16))
}

func newScratchCodes() []string {
	codes := make([]string, 5)
	for i := range codes {
		n := 0
		for _, b := range randomBytes(8) {
			n = n*10 + int(b)%10
		}
		codes[i] = fmt.Sprintf("%08d", n)
	}
	return codes
}

// enrolment is a second factor that was offered and not confirmed yet.
type enrolment struct {
	account *account
	token   string
	secret  string
	scratch []string
}

// enrol offers a second factor to the user whom the path names. It reports false when it answered itself.
func (x *exchange) enrol() (e *enrolment, ok bool) {
	var body struct {
		Recreate any `json:"recreate"` // a boolean; the documents send a string
	}
	raw, whole := x.readAll(maxForm)
	if !whole || json.Unmarshal(raw, &body) != nil {
		x.refuse(badRequest)
		return nil, false
	}
	e, why := x.s.offer(x.params["id"], strings.EqualFold(fmt.Sprint(body.Recreate), "true"))
	if why != "" {
		x.refuse(why)
		return nil, false
	}
	return e, true
}

func (s *Server) offer(user string, recreate bool) (*enrolment, reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accountNamed(user)
	switch {
	case a == nil:
		return nil, notFound
	case a.TOTPSecret != "" && !recreate:
		return nil, conflict
	}
	e := &enrolment{account: a, token: opaqueToken(), secret: newSecret(), scratch: newScratchCodes()}
	s.enrolments[e.token] = e
	s.issued = append(append(s.issued, e.token, e.secret), e.scratch...)
	return e, ""
}

// qrString is what authenticators scan. at stands for the @ between user and host; Azure writes it wrong.
func (s *Server) qrString(e *enrolment, at string) string {
	const host = "ip-172-31-71-115"
	return "otpauth://totp/" + url.PathEscape(e.account.Username) + at + host + "?secret=" + e.secret + "&issuer=" + host + s.unusual()
}

// acceptMFA confirms an offered second factor with a first code.
func acceptMFA(status int) func(*exchange) {
	return func(x *exchange) {
		var body struct{ Code, Token string }
		raw, whole := x.readAll(maxForm)
		if !whole || json.Unmarshal(raw, &body) != nil || !x.s.confirm(body.Token, body.Code) {
			x.refuse(badRequest)
			return
		}
		x.done(status)
	}
}

func (s *Server) confirm(value, code string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.enrolments[value]
	if e == nil {
		return false
	}
	step, ok := s.totpStep(e.secret, code)
	if !ok {
		return false
	}
	delete(s.enrolments, value)
	e.account.TOTPSecret, e.account.scratch, e.account.lastStep = e.secret, e.scratch, step
	return true
}

func disableMFA(status int) func(*exchange) {
	return func(x *exchange) {
		s := x.s
		s.mu.Lock()
		a := s.accountNamed(x.params["id"])
		if a != nil {
			a.TOTPSecret, a.scratch, a.lastStep = "", nil, 0
		}
		s.mu.Unlock()
		if a == nil {
			x.refuse(notFound)
			return
		}
		x.done(status)
	}
}

// done answers that an action is done: without a body where the status has none, with {} elsewhere.
func (x *exchange) done(status int) {
	if status == http.StatusNoContent {
		x.write(status, "", nil)
		return
	}
	x.json(status, struct{}{})
}
