// Authorization codes: made for a session, exchanged once for another. VBR up to 12 and AWS have them.

package veeamtest

import (
	"net/http"
	"time"
)

type code struct {
	account *account
	expires time.Time
}

func serveCode(x *exchange) {
	value := opaqueCode()
	x.s.putCode(value, x.account(), x.s.cfg.codeLifetime)
	x.json(http.StatusOK, map[string]string{"code": value})
}

func (s *Server) putCode(value string, a *account, lifetime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[value] = &code{a, s.now().Add(lifetime)}
	s.issued = append(s.issued, value)
}

func codeGrant(x *exchange) {
	fields, ok := x.require("code")
	if !ok {
		return
	}
	s := x.s
	value := x.plus(fields[0])
	s.mu.Lock()
	c := s.codes[value]
	delete(s.codes, value)
	good := c != nil && s.now().Before(c.expires)
	s.mu.Unlock()
	if !good {
		x.refuseToken(badAuthorizationCode)
		return
	}
	x.begin(c.account, x.wish())
}
