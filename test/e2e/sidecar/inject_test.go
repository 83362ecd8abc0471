// What reaches the server of a request, and the client of its answer.

package sidecar

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestNothingThatAClientSaysAboutItselfReachesTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	w.leaks.keepFromLogs("client-cookie-value", "client-session-value", "client-csrf-value", "client-otp-value", "dXNlcjpwYXNz")
	for _, s := range w.sites {
		mine := s.client.login(t)
		for _, authorization := range []string{"Bearer " + mine.Access, "Basic dXNlcjpwYXNz", "Negotiate dXNlcjpwYXNz", "Bearer"} {
			e := s.client.echo(t, http.MethodGet, nil,
				header("Authorization", authorization),
				header("Cookie", "X-RestSvcSessionId=client-cookie-value; a=b"),
				header("X-RestSvcSessionId", "client-session-value"),
				header("X-CSRF-TOKEN", "client-csrf-value"),
				header("X-OTP-TOKEN", "client-otp-value"),
				header("X-Client-Note", "kept"), header("User-Agent", "kept/1.0"),
			)
			if got := e.Headers.Values("Authorization"); len(got) != 1 || got[0] != veeamtest.DefaultUser {
				t.Errorf("%s: Authorization %q", s.Name, got)
			}
			for name, values := range e.Headers {
				if strings.Contains(strings.Join(values, " "), "client-") {
					t.Errorf("%s: the server got %s: %q", s.Name, name, values)
				}
			}
			if e.Headers.Get("X-Client-Note") != "kept" || e.Headers.Get("User-Agent") != "kept/1.0" {
				t.Errorf("%s: %q", s.Name, e.Headers)
			}
		}
		// Nor at the token endpoint: the login is the sidecar's own.
		for _, seen := range s.Server.Seen() {
			if seen.Header.Get("Authorization")+seen.Header.Get("Cookie") != "" || strings.Contains(seen.Body, "anybody") {
				t.Errorf("%s: the server's token endpoint got %+v", s.Name, seen)
			}
		}
	}
}

func TestTheVersionHeaderIsFilledInAndAClientsOwnIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		version := func(edits ...edit) []string {
			return s.client.echo(t, http.MethodGet, nil, edits...).Headers.Values("X-Api-Version")
		}
		if s.version == "" {
			if got := version(); got != nil {
				t.Errorf("%s: a version that the product does not know: %q", s.Name, got)
			}
			continue
		}
		for _, edits := range [][]edit{{}, {header("x-api-version", "")}, {header("X-API-VERSION", "  ")}} {
			if got := version(edits...); len(got) != 1 || got[0] == "" {
				t.Errorf("%s: x-api-version %q", s.Name, got)
			}
		}
		own := map[string]string{"vbr": "1.3-rev1", "aws": "1.8-rev0", "gcp": "1.3-rev0"}[s.Product]
		if got := version(header("x-api-version", own)); len(got) != 1 || got[0] != own {
			t.Errorf("%s: the client's x-api-version became %q", s.Name, got)
		}
		if s.anonymous != "" {
			s.client.ok(t, s.anonymous)
		}
	}
}

func TestTheRequestIDIsKeptAlsoWhenTheRequestIsSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, s := range w.sites {
		for range 2 {
			e := s.client.echo(t, http.MethodPost, bytes.NewReader([]byte("body")), header("X-Request-id", id))
			if got := e.Headers.Values("X-Request-Id"); len(got) != 1 || got[0] != id || e.Length != 4 {
				t.Errorf("%s: %+v", s.Name, e)
			}
			s.Server.RevokeAll()
		}
		if c := s.Server.Counters(); c.Logins != 2 {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
}

func TestAnonymousRoutesWorkWithoutALoginAndCauseNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range which(func(p *product) bool { return p.anonymous != "" }) {
		s := w.add(p)
		s.Account = "account " + veeamtest.DefaultUser + " {env.NOT_THERE_AT_ALL}"
	}
	w.start()
	for _, s := range w.sites {
		s.client.ok(t, s.anonymous)
		s.client.ok(t, s.anonymous, bearer("stale"))
		// Who may not come in may not come in here either.
		s.client.get(t, s.anonymous, header("X-Forwarded-For", "192.0.2.7")).refusedAs(t, s.product, false, http.StatusUnauthorized)
		// The control: the account could not have logged in.
		s.client.get(t, s.protected).refusedAs(t, s.product, false, http.StatusServiceUnavailable)
		if c := s.Server.Counters(); c.TokenRequests != 0 || c.Anonymous != 2 || c.Protected+c.Unauthorized != 0 {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
}

func TestACookieOfTheServersStaysBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		s := w.add(p)
		s.Server.SetFault(veeamtest.Fault{
			Kind: veeamtest.FaultStatus, On: veeamtest.OnProtected, Status: http.StatusOK, Body: "{}",
			Header: http.Header{"Set-Cookie": {"X-RestSvcSessionId=server-cookie; Path=/api", "b=c"}, "X-Kept": {"yes"}},
		})
	}
	w.leaks.keep("server-cookie")
	w.start()
	for _, s := range w.sites {
		a := s.client.ok(t, s.protected)
		if got := a.header.Values("Set-Cookie"); got != nil || a.header.Get("X-Kept") != "yes" {
			t.Errorf("%s: %q", s.Name, a.header)
		}
	}
}

func TestPathsAndQueriesReachTheServerInOneSpelling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		path, query := s.Server.Base()+"/ECHO", "filter=%7B%22name%22%3A%22a+b%22%7D&limit=1&x=%2F%3By"
		var got struct{ Path, Query string }
		s.client.ok(t, path+"?"+strings.ReplaceAll(query, "%3B", ";")).into(t, &got) // one spelling for what is read in two ways
		if got.Path != path || got.Query != query {
			t.Errorf("%s: %+v", s.Name, got)
		}
	}
}
