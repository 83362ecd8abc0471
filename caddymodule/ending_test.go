// The end of upstream sessions: each is logged out once, whatever ends it, and no
// more than that.

package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// logouts are the requests that end something. Of a session that is ended by both of its
// tokens the one with its access token counts.
func (w *world) logouts() (n int) {
	for _, c := range w.wire.calls() {
		if c.revokesOther {
			continue
		}
		if strings.HasSuffix(c.path, "/logout") || strings.HasSuffix(c.path, "/revoke") || c.method == http.MethodDelete {
			n++
		}
	}
	return n
}

// lives demands that so many sessions live.
func (w *world) lives(live int) {
	w.Helper()
	w.rest(0)
	if c := w.server.Counters(); c.LiveSessions != live {
		w.Errorf("%s: %d sessions live, want %d", w.server.Profile(), c.LiveSessions, live)
	}
}

// over demands that so many sessions were logged out and so many live.
func (w *world) over(ended, live int) {
	w.Helper()
	w.rest(0)
	if c := w.server.Counters(); w.logouts() != ended || int(c.Logouts) != ended || c.LiveSessions != live {
		w.Errorf("%s: %d logouts, %d of them good; %d sessions live; want %d and %d",
			w.server.Profile(), w.logouts(), c.Logouts, c.LiveSessions, ended, live)
	}
}

func (w *world) user() *account.Account {
	return &account.Account{Name: veeamtest.DefaultUser, Password: w.password()}
}

// reload replaces the transport as a new configuration does.
func (w *world) reload(next *Transport) {
	w.Helper()
	old := w.tr
	w.tr = w.transport(next)
	_ = old.Cleanup()
	w.rest(0)
}

// renewed are the cases of TestASessionIsLoggedOutOnce that renew a session, or leave it
// alone for longer than one without a refresh token lasts.
var renewed = []string{
	"when its server is no longer named", "when a login takes its place", "when the process exits right after a login has taken its place",
	"when its access token has expired", "not by a reload that keeps it",
}

func TestASessionIsLoggedOutOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(w *world){
		"at shutdown": func(w *world) {
			w.tr.close()
			w.over(1, 0)
		},
		"when its account is removed": func(w *world) {
			w.reload(&Transport{Accounts: []*account.Account{{Name: "other", Password: w.password()}}})
			w.over(1, 0)
		},
		"when its secret has changed": func(w *world) {
			w.server.SetPassword(veeamtest.DefaultUser, "changed")
			w.secret("secret", "changed")
			w.reload(&Transport{Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: "{file." + w.dir + "/secret}"}}})
			w.over(0, 1)    // nobody has asked yet
			w.demand("200") // by the session so far, while the changed secret is tried
			w.over(0, 2)
			w.rest(upstream.RetireAfter)
			w.over(1, 1)
			w.tr.close()
			w.over(2, 0)
		},
		"when its server is no longer named": func(w *world) {
			for range 3 {
				w.reload(&Transport{Accounts: []*account.Account{w.user()}})
			}
			w.over(0, 1)
			w.rest(upstream.InheritFor)
			w.over(1, 0)
			w.demand("200")
		},
		"when a login takes its place": func(w *world) {
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				if isGrant(req) && w.server.Counters().Logins == 1 && w.wire.grants() == 2 {
					return canned(req, http.StatusUnauthorized, contentTypeJSON, `{"errorCode":"InvalidToken"}`), nil // its refresh
				}
				return nil, nil
			})
			w.rest(9*time.Minute + 55*time.Second)
			w.demand("200")
			w.over(0, 2) // requests may be on their way with it
			w.rest(upstream.LateFor + upstream.ReplacedEvery)
			w.over(1, 1)
		},
		"when the process exits right after a login has taken its place": func(w *world) {
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				if isGrant(req) && w.wire.grants() == 2 {
					return canned(req, http.StatusUnauthorized, contentTypeJSON, `{"errorCode":"InvalidToken"}`), nil // its refresh
				}
				return nil, nil
			})
			w.rest(9*time.Minute + 55*time.Second)
			w.demand("200")
			w.over(0, 2)
			began := time.Now()
			w.tr.close()
			w.over(2, 0)
			if took := time.Since(began); took > upstream.LateFor/2 {
				w.Errorf("the exit waits for %v", took)
			}
		},
		"when its access token has expired": func(w *world) {
			w.rest(90 * time.Minute)
			w.over(0, 1) // by its refresh token
			w.tr.close()
			w.over(1, 0)
		},
		"after all that share it have gone": func(w *world) {
			second := w.transport(&Transport{Accounts: []*account.Account{w.user()}})
			if got := w.ask(second, http.MethodGet, "/echo", ""); got.status != 200 || w.wire.grants() != 1 {
				w.Errorf("a second site: %v after %d logins", got, w.wire.grants())
			}
			w.tr.close()
			w.over(0, 1)
			w.tr = second
			w.tr.close()
			w.over(1, 0)
		},
		"after the last requests of a replaced configuration": func(w *world) {
			_ = w.tr.Cleanup()
			w.over(1, 0)
			w.demand("200") // one that was under way
			w.over(1, 1)
			w.rest(upstream.LateFor)
			w.over(2, 0)
		},
		"not by a reload that keeps it": func(w *world) {
			for range 5 {
				w.reload(&Transport{Accounts: []*account.Account{w.user()}})
				w.demand("200")
			}
			w.over(0, 1)
			w.rest(10 * time.Minute)
			w.demand("200")
			w.over(0, 1)
			w.tr.close()
			w.over(1, 0)
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			for _, profile := range endable {
				if slices.Contains(renewed, name) && !slices.Contains(refreshable, profile) {
					continue
				}
				inWorld(t, profile, []veeamtest.Option{veeamtest.WithAccessLifetime(10 * time.Minute), veeamtest.WithParallelSessions()}, func(w *world) {
					w.start(w.user())
					w.demand("200")
					test(w)
				})
			}
		})
	}
}

// The server takes its time with requests that came before the login, one of them
// with a body that is not kept.
func TestRequestsThatCarryAReplacedTokenHaveAMoment(t *testing.T) {
	t.Parallel()
	for _, profile := range endable {
		if !slices.Contains(refreshable, profile) {
			continue // there is no renewal that could be refused
		}
		inWorld(t, profile, []veeamtest.Option{veeamtest.WithAccessLifetime(10 * time.Minute), veeamtest.WithParallelSessions()}, func(w *world) {
			w.start(w.user())
			w.demand("200")
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				switch {
				case isGrant(req) && w.wire.grants() == 2:
					return canned(req, http.StatusUnauthorized, contentTypeJSON, `{"errorCode":"InvalidToken"}`), nil
				case strings.HasSuffix(req.URL.Path, "/echo") && req.Method == http.MethodPost:
					time.Sleep(upstream.LateFor - 100*time.Millisecond)
				}
				return nil, nil
			})
			w.rest(9*time.Minute + 10*time.Second) // it is due, and good
			before := len(w.wire.calls())
			if got := w.ask(w.tr, http.MethodPost, "/echo", ""); got.status != http.StatusOK {
				t.Errorf("%s: %v", profile, got)
			}
			if posts := countPosts(w.wire.calls()[before:]); w.server.Counters().Logins != 2 || posts != 1 {
				t.Errorf("%s: %d logins, sent %d times", profile, w.server.Counters().Logins, posts)
			}
			w.rest(upstream.LateFor + upstream.ReplacedEvery)
			w.over(1, 1)
		})
	}
}

func countPosts(calls []call) (n int) {
	for _, c := range calls {
		if c.method == http.MethodPost && strings.HasSuffix(c.path, "/echo") {
			n++
		}
	}
	return n
}

func TestTheSessionsOfAParentAndItsChildAreBothLoggedOut(t *testing.T) {
	t.Parallel()
	for _, profile := range []veeamtest.Profile{veeamtest.VBR12, veeamtest.AWS} {
		inWorld(t, profile, nil, func(w *world) {
			w.start(&account.Account{Name: "svc", Grant: "authorization_code", Parent: veeamtest.DefaultUser}, w.user())
			w.demand("200")
			w.over(0, 2)
			w.tr.close()
			w.over(2, 0)
		})
	}
}

// VSPC ends all sessions of a user at once, those of others too.
func TestNothingEverEndsTheSessionsOfAUserOfVSPC(t *testing.T) {
	t.Parallel()
	option, _ := assigned(t, "xml")
	options, uids := tenants(5)
	options = append(options, option, veeamtest.WithAPIKey(veeamtest.DefaultUser, apiKey, false))
	inWorld(t, veeamtest.VSPC, options, func(w *world) {
		accounts := append(w.template(),
			&account.Account{Name: "key", Grant: "public_key", Key: w.file("key", keyPEM(testKey()))},
			&account.Account{Name: "api", Grant: "api_key", Password: w.secret("api", apiKey)})
		w.tr = w.transport(&Transport{Accounts: accounts, MaxUsers: 2})
		for _, name := range append(uids, "key", "api", "parent") {
			if got := w.ask(w.tr, http.MethodGet, "/echo", name); got.status != 200 {
				t.Errorf("%s: %v %s", name, got, got.body)
			}
		}
		w.reload(&Transport{Accounts: []*account.Account{w.user()}})
		w.demand("200")
		w.tr.close()
		if n := w.logouts(); n != 0 {
			t.Errorf("%d logouts", n)
		}
	})
}

func TestALogoutThatFailsIsSaidAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, profile := range endable {
		inWorld(t, profile, nil, func(w *world) {
			w.start(w.user())
			w.demand("200")
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				if isGrant(req) || req.Method == http.MethodGet {
					return nil, nil
				}
				return canned(req, http.StatusInternalServerError, contentTypeJSON, "{}"), nil
			})
			w.tr.close()
			if n := w.logouts(); n != 1 || !strings.Contains(w.said(), "logout failed: server fault (500)") {
				t.Errorf("%s: %d logouts; the log says\n%s", profile, n, w.said())
			}
		})
	}
}
