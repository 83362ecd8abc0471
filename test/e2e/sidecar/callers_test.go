// Who is admitted: valid tokens, processes of this machine, callers that Caddy has
// authenticated. Everybody else is refused in the product's own words.

package sidecar

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

func TestATokenThatIsNotGoodIsRefusedEvenFromThisMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
		w.add(p)
	}
	w.start()
	for i := 0; i < len(w.sites); i += 2 {
		s, other := w.sites[i], w.sites[i+1]
		mine := s.client.login(t)
		for what, token := range map[string]string{
			"junk":                    "junk",
			"null":                    "null",
			"of another site":         other.client.login(t).Access,
			"a refresh token":         mine.Refresh,
			"signed by somebody else": forge(t, mine.Access, jwt.SigningMethodHS256, []byte("a key of the forger's own, 32 bytes")),
			"not signed":              forge(t, mine.Access, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
			"alg none, signature cut": cut(forge(t, mine.Access, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)),
			"another payload":         swapPayload(mine.Access),
			"the server's own":        theirs(t, s),
		} {
			before := s.Server.Counters()
			a := s.client.get(t, s.protected, bearer(token))
			a.refusedAs(t, s.product, false, http.StatusUnauthorized)
			if a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s, %s: WWW-Authenticate %q", s.Name, what, a.header.Get("WWW-Authenticate"))
			}
			after := s.Server.Counters()
			if after.Protected != before.Protected || after.Unauthorized != before.Unauthorized {
				t.Errorf("%s: a token that is %s has reached the server", s.Name, what)
			}
		}
		s.client.ok(t, s.protected, bearer(mine.Access))
		s.client.ok(t, s.protected, header("Authorization", "bearer  "+mine.Access+" "))
	}
}

// theirs is an access token that the server itself has given to somebody.
func theirs(t *testing.T, s *site) string {
	t.Helper()
	var p pair
	direct(t, s, url.Values{
		"grant_type": {s.password[0]}, "username": {"svc-monitor"}, "password": {"monitor-pass-1"},
	}).into(t, &p)
	return p.Access
}

// forge signs the claims of a token again, with the given method and key.
func forge(t *testing.T, token string, method jwt.SigningMethod, key any) string {
	t.Helper()
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(token, claims)
	if err != nil {
		t.Fatal(err)
	}
	forged := jwt.NewWithClaims(method, claims)
	forged.Header["kid"] = parsed.Header["kid"]
	text, err := forged.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func cut(token string) string { return strings.TrimSuffix(token, ".") }

func swapPayload(token string) string {
	parts := strings.Split(token, ".")
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root","use":"access"}`)) + "." + parts[2]
}

func TestATokenIsGoodForAsLongAsItsAnswerSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p).Options = "token_lifetime 1s"
	}
	w.start()
	logins := make([]pair, len(w.sites))
	for i, s := range w.sites {
		a := s.client.attempt(t)
		logins[i] = s.client.tokensOf(t, a)
		var answer struct {
			ExpiresIn int `json:"expires_in"`
		}
		if a.into(t, &answer); answer.ExpiresIn != 1 {
			t.Errorf("%s: %s", s.Name, a.body)
		}
	}
	for i, s := range w.sites {
		var a *answer
		harness.Eventually(t, "the token has expired", func() bool {
			a = s.client.get(t, s.protected, bearer(logins[i].Access))
			return a.status != http.StatusOK
		})
		a.refusedAs(t, s.product, false, http.StatusUnauthorized)
		s.client.tokensOf(t, s.client.renew(t, logins[i].Refresh))
		if c := s.Server.Counters(); c.TokenRequests != 1 {
			t.Errorf("%s: the server's session was renewed with ours: %+v", s.Name, c)
		}
	}
}

// bob's password is "builder".
const basicAuth = `
	basic_auth {
		bob $2a$04$JtdEpqxBUnUBxy6T63cbHuSlRHPPn3KyHsnKHhEZpitVgk.9a0g/u
	}`

func TestARequestThatAProxyHasPassedOnIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		for _, relayed := range []edit{
			header("X-Forwarded-For", "192.0.2.7"), header("Forwarded", "for=192.0.2.7"),
			header("X-Real-IP", "192.0.2.7"), header("Via", "1.1 proxy"), header("X-Forwarded-For", ""),
		} {
			s.client.get(t, s.protected, relayed).refusedAs(t, s.product, false, http.StatusUnauthorized)
			s.client.attempt(t, relayed).refusedAs(t, s.product, true, s.refused)
			method, path := split(s.logout)
			s.client.do(t, method, path, nil, relayed).refusedAs(t, s.product, false, http.StatusUnauthorized)
		}
		if c := s.Server.Counters(); c.TokenRequests+c.Protected+c.Unauthorized+c.Anonymous != 0 {
			t.Errorf("%s: the server was asked: %+v", s.Name, c)
		}
		// The token of a caller that is known by its address is no better elsewhere.
		mine := s.client.login(t)
		s.client.get(t, s.protected, bearer(mine.Access), header("X-Forwarded-For", "192.0.2.7")).
			refusedAs(t, s.product, false, http.StatusUnauthorized)
		harness.Eventually(t, "the log says what would have let the caller in", func() bool {
			for line := range strings.Lines(w.svclog()) {
				if strings.Contains(line, s.protected) && strings.Contains(line, "another proxy relayed the request") && strings.Contains(line, "basic_auth") {
					return true
				}
			}
			return false
		})
	}
}

func TestAPageOfAnotherSiteCannotBorrowTheAddressOfItsBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		for _, foreign := range []edit{header("Origin", "https://elsewhere.invalid"), header("Origin", "null"), header("Sec-Fetch-Site", "cross-site")} {
			s.client.get(t, s.protected, foreign).refusedAs(t, s.product, false, http.StatusUnauthorized)
			s.client.attempt(t, foreign).refusedAs(t, s.product, true, s.refused)
		}
		if c := s.Server.Counters(); c.TokenRequests+c.Protected+c.Unauthorized != 0 {
			t.Errorf("%s: the server was asked: %+v", s.Name, c)
		}
		s.client.ok(t, s.protected, header("Origin", s.client.url("")), header("Sec-Fetch-Site", "same-origin"))
	}
}

func TestACallerThatCaddyHasAuthenticatedIsLetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		s := w.add(p)
		s.Before = basicAuth
	}
	w.start()
	bob := func(r *http.Request) { r.SetBasicAuth("bob", "builder") }
	w.leaks.keepFromLogs("builder", base64.StdEncoding.EncodeToString([]byte("bob:builder")))
	relayed := header("X-Forwarded-For", "192.0.2.7")
	for _, s := range w.sites {
		s.client.ok(t, s.protected, bob)
		s.client.ok(t, s.protected, bob, relayed)
		s.client.tokensOf(t, s.client.attempt(t, bob, relayed))
		s.client.get(t, s.protected).want(t, http.StatusUnauthorized)
		s.client.get(t, s.protected, func(r *http.Request) { r.SetBasicAuth("bob", "wrecker") }).want(t, http.StatusUnauthorized)
		if e := s.client.echo(t, http.MethodGet, nil, bob, relayed); e.Subject != "svc-monitor" || e.Headers.Get(s.carrier()) != "svc-monitor" {
			t.Errorf("%s: the server saw %+v", s.Name, e)
		}
	}
	if !strings.Contains(w.svclog(), "[User: caddy:bob][GET] request to") {
		t.Error("bob is not in the log")
	}
}

func TestACallerOnAUnixSocketIsLetIn(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sock") //nolint:usetesting // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := newWorld(t)
	for _, p := range products {
		s := w.add(p)
		socket := filepath.Join(dir, s.Name)
		s.Address, s.Bind = "http://"+s.Name+".localhost", "unix/"+socket
		s.client.base = "http://" + s.Name + ".localhost"
		s.client.http = newHTTPClient(func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		})
	}
	w.start()
	for _, s := range w.sites {
		s.client.ok(t, s.protected)
		s.client.ok(t, s.protected, bearer(s.client.login(t).Access))
		s.client.get(t, s.protected, header("X-Forwarded-For", "127.0.0.1")).refusedAs(t, s.product, false, http.StatusUnauthorized)
	}
}
