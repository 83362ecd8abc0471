// Logouts and authorization codes: answered here, because at the server they
// would end the session of all or give it away.

package sidecar

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestALogoutEndsTheClientsTokensAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		t.Run(s.Product, func(t *testing.T) {
			t.Parallel()
			mine, theirs := s.client.login(t), s.client.login(t)
			mine2 := s.client.tokensOf(t, s.client.renew(t, mine.Refresh))
			method, path := split(s.logout)

			a := s.client.do(t, method, path, nil, bearer(mine.Access))
			a.want(t, s.loggedOut)
			if string(a.body) != s.goodbye {
				t.Errorf("body %q", a.body)
			}
			for _, token := range []string{mine.Access, mine2.Access} {
				s.client.get(t, s.protected, bearer(token)).refusedAs(t, s.product, false, http.StatusUnauthorized)
			}
			for _, token := range []string{mine.Refresh, mine2.Refresh} {
				s.client.renew(t, token).refusedAs(t, s.product, true, s.refused)
			}
			s.client.do(t, method, path, nil, bearer(mine.Access)).refusedAs(t, s.product, false, http.StatusUnauthorized)

			s.client.ok(t, s.protected, bearer(theirs.Access))
			s.client.tokensOf(t, s.client.renew(t, theirs.Refresh))
			s.client.ok(t, s.protected)

			// A client without a token of its own may take its leave too, in any case.
			s.client.do(t, method, strings.ToUpper(path), nil).want(t, s.loggedOut)
			s.client.ok(t, s.protected, bearer(theirs.Access))
			if c := s.Server.Counters(); c.Logouts != 0 || c.Logins != 1 || c.LiveSessions != 1 || c.TokenRequests != 1 {
				t.Errorf("at the server: %+v", c)
			}
		})
	}
}

func TestAuthorizationCodesAreOfTheSidecarsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	vbr12 := *vbr
	vbr12.profile = veeamtest.VBR12 // 13 has no codes
	ofVBR, ofAWS := w.add(&vbr12), w.add(aws, veeamtest.WithCodePaths("authorization_code", "authorizationCode"))
	w.start()
	ofVBR.codes(t, []string{"/api/oauth2/authorization_code", "/API/OAuth2/Authorization_Code"})
	ofAWS.codes(t, []string{
		"/api/v1/token/authorization_code", "/api/v1/token/authorizationCode", "/api/v1/Token/AuthorizationCode",
	})
}

// codes asks for codes at each path and redeems them.
func (s *site) codes(t *testing.T, paths []string) {
	t.Helper()
	redeem := func(code string) *answer {
		return s.client.post(t, formType, "grant_type=authorization_code&code="+code)
	}
	mine := s.client.login(t)
	for _, path := range paths {
		code := s.client.code(t, path, mine)
		got := s.client.tokensOf(t, redeem(url.QueryEscape(code)))
		s.client.ok(t, s.protected, bearer(got.Access))
		redeem(url.QueryEscape(code)).refusedAs(t, s.product, true, s.refused)
	}
	// As shell scripts send it, with + and / as they are.
	code := s.client.code(t, paths[0], mine)
	for !strings.Contains(code, "+") {
		code = s.client.code(t, paths[0], mine)
	}
	s.client.tokensOf(t, redeem(code))
	s.client.tokensOf(t, s.client.post(t, "application/json",
		`{"grant_type":"Authorization_code","code":"`+s.client.code(t, paths[0], mine)+`"}`))

	s.client.do(t, http.MethodPost, paths[0], nil, bearer("forged")).refusedAs(t, s.product, false, http.StatusUnauthorized)
	if c := s.Server.Counters(); c.Logins != 1 || c.TokenRequests != 1 || c.OtherGrants != 0 || c.Protected != int64(len(paths)) {
		t.Errorf("%s: at the server: %+v", s.Name, c)
	}
}

// code asks for an authorization code.
func (c *client) code(t *testing.T, path string, p pair) string {
	t.Helper()
	a := c.do(t, http.MethodPost, path, nil, bearer(p.Access))
	a.want(t, http.StatusOK)
	var doc map[string]string
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc) != 1 || len(doc["code"]) < 20 {
		t.Fatalf("%v: %v", err, a)
	}
	if slices.Contains(c.site.Server.Issued(), doc["code"]) {
		t.Error("a code of the server's")
	}
	c.site.world.leaks.keepFromLogs(doc["code"])
	return doc["code"]
}
